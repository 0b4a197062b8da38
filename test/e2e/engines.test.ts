// HTTP, WebSocket and gRPC between injected pods whose sidecars move them by the `compat` engine, and by one of each; all other end-to-end tests run on
// the default. Also that the annotation `remora.io/engine` is what decides.
import t from "tap";
import { requires } from "../support/requires.ts";
import { startCluster } from "./cluster.ts";
import { annotated, CHAT, client, ECHO, NGINX } from "./manifests.ts";

const skip = requires("root", "ip", "iptables", "nginx", "curl");
// Several processes per pod: on a busy machine of two cores this takes its time.
t.setTimeout(300_000);
const COMPAT = { "remora.io/engine": "compat" };

t.test("pods that ask for the compat engine get it, and speak with pods of both engines", { skip }, async (t) => {
  const cluster = await startCluster(t);
  const caller = client("shop").replace("labels: { app: client }", `labels: { app: client }, annotations: ${JSON.stringify(COMPAT)}`);
  const usual = client("shop").replace("name: client,", "name: usual,").replace("app: client", "app: usual");
  await cluster.apply(annotated(NGINX, COMPAT), annotated(ECHO, COMPAT), CHAT, caller, usual);
  const callers = { compat: cluster.pod("shop/client"), splice: cluster.pod("shop/usual") } as const;

  t.test("the annotation reaches the sidecar, which shows it by what it lets pass", async (t) => {
    // A target and a Host that disagree: the row `host_disagrees` of the splice engine.
    const url = `http://${cluster.address("shop/web").ipv4}:8000/`;
    const disagreeing = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--request-target", url, "-H", "host: other", url];
    t.equal((await callers.compat.exec("app", disagreeing)).stdout, "200");
    t.equal((await callers.splice.exec("app", disagreeing)).stdout, "400");
    const misspelt = client("shop").replace(
      "labels: { app: client }",
      'labels: { app: client }, annotations: { "remora.io/engine": "nginx" }',
    );
    await t.rejects(cluster.apply(misspelt), { message: /remora\.io\/engine.*nginx.*splice, compat/s });
  });

  for (const [engine, app] of Object.entries(callers)) {
    t.test(`HTTP, from ${engine} to compat`, async (t) => {
      const { ipv4 } = cluster.address("shop/web");
      const up = await app.exec("app", ["curl", "-sS", "-w", " %{http_code}", "--data-binary", "some body", `http://${ipv4}:8000/echo`]);
      t.match(up.stdout, / 200$/, up.stderr);
      const down = await app.exec("app", ["sh", "-c", `curl -sS http://${ipv4}:8000/files/1m.bin | wc -c`]);
      t.equal(down.stdout.trim(), "1048576", down.stderr);
    });

    t.test(`WebSocket, from ${engine} to splice`, async (t) => {
      const { stdout, stderr } = await cluster.runApp(app, "ws-client", [`ws://${cluster.address("shop/chat").ipv4}/ws`]);
      const { received, end } = JSON.parse(stdout || "{}") as { received: string[]; end: string };
      t.equal(end, "4321 enough", stderr);
      t.same(received.slice(1), ["first", "hex:010203", "200000 characters"]);
    });

    t.test(`gRPC, from ${engine} to compat`, async (t) => {
      const target = `${cluster.address("shop/echo").ipv4}:9090`;
      const { stdout, stderr } = await cluster.runApp(app, "grpc-client", [target], { timeoutMs: 15_000 });
      const seen = JSON.parse(stdout || "{}") as Record<string, { code: number; texts: string[] }>;
      t.match(seen["unary"], { code: 0, texts: ["hello", "10"], trailers: { count: "1", "checksum-bin": "hex:000102ff" } }, stderr);
      t.match(seen["bidi"], { code: 0, texts: ["ping 0", "ping 1", "ping 2", "ping 3"] });
    });
  }
});

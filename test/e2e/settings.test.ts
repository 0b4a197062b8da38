// What a workload's owner can set by annotation, seen in the pods that come of it.
import t from "tap";
import { requires } from "../support/requires.ts";
import { startCluster } from "./cluster.ts";
import { annotated, CHAT, client, NGINX, renamed } from "./manifests.ts";

const skip = requires("root", "ip", "iptables", "nginx", "curl");
// Several processes per pod: on a busy machine of two cores this takes its time.
t.setTimeout(300_000);

const STATUS = ["-sS", "-o", "/dev/null", "-w", "%{http_code}"];

t.test("annotations set limits, egress and skipped ports of the real pod", { skip }, async (t) => {
  const cluster = await startCluster(t);
  const limited = annotated(NGINX, { "remora.io/rate-limit": "3/m burst=3 per=identity path=/echo", "remora.io/egress": "deny" });
  const open = annotated(CHAT, { "remora.io/skip-inbound-ports": "8080", "remora.io/skip-outbound-cidrs": "10.77.0.0/16" });
  const plain = annotated(renamed(NGINX, "web", "plain"), { "remora.io/native-sidecar": "false" });
  const optedOut = renamed(NGINX, "web", "optedout").replace(
    "labels: { app: optedout }",
    'labels: { app: optedout, "remora.io/inject": disabled }',
  );
  await cluster.apply(limited, open, plain, optedOut, client("shop"), client("legacy"));
  const caller = cluster.pod("shop/client");
  const web = cluster.address("shop/web").ipv4;

  t.test("a rate limit answers 429 and says for how long", async (t) => {
    const statuses: string[] = [];
    for (let i = 0; i < 4; i += 1) statuses.push((await caller.exec("app", ["curl", ...STATUS, `http://${web}:8000/echo`])).stdout);
    t.same(statuses, ["200", "200", "200", "429"]);
    const head = (await caller.exec("app", ["curl", "-sS", "-o", "/dev/null", "-D", "-", `http://${web}:8000/echo`])).stdout;
    t.match(head, /^retry-after: \d+/im);
    t.match(head, /^ratelimit: /im);
    t.match(head, /^ratelimit-policy: /im);
    t.equal((await caller.exec("app", ["curl", ...STATUS, `http://${web}:8000/`])).stdout, "200", "other paths are not limited");
  });

  t.test("egress=deny refuses what is not in the mesh", async (t) => {
    const outside = `http://${cluster.runner.network.hostIpv4}:15014/live`;
    const denied = await cluster.pod("shop/web").exec("nginx", ["curl", ...STATUS, "-m", "5", outside]);
    t.not(denied.stdout, "200");
    t.equal((await caller.exec("app", ["curl", ...STATUS, outside])).stdout, "200", "allowed elsewhere");
  });

  t.test("a skipped inbound port is served without the sidecar", async (t) => {
    const [chat = ""] = cluster.pod("shop/chat").facts.podIps;
    t.equal((await cluster.pod("legacy/client").exec("app", ["curl", ...STATUS, `http://${chat}:8080/healthz`])).stdout, "200");
  });

  t.test("a skipped network is dialled without the sidecar", async (t) => {
    const before = cluster.sidecarLog(cluster.pod("shop/chat")).filter((line) => line["direction"] === "outbound").length;
    const outside = `http://${cluster.runner.network.hostIpv4}:15014/live`;
    t.equal((await cluster.pod("shop/chat").exec("app", ["curl", ...STATUS, outside])).stdout, "200");
    t.equal(cluster.sidecarLog(cluster.pod("shop/chat")).filter((line) => line["direction"] === "outbound").length, before);
  });

  t.test("remora init --check agrees, from inside the pod", async (t) => {
    const checked = await caller.exec("remora-sidecar", ["remora", "init", "--check"], { uid: 1000 });
    t.equal(checked.code, 0, checked.stdout + checked.stderr);
    t.match(checked.stdout, "ipv6: a connection to [2001:db8::1]:80, which nobody has, is accepted");
  });

  t.test("a sidecar as a plain container works too, and the app starts only once it is ready", async (t) => {
    const pod = cluster.pod("shop/plain");
    const answer = await caller.exec("app", ["curl", "-sS", `http://${cluster.address("shop/plain").ipv4}:8000/`]);
    t.match(answer.stdout, /client: .*sa\/client/, answer.stderr);
    const order = pod.events
      .filter(({ what }) => what === "started" || what === "post_start")
      .map(({ container, what, detail }) => `${container} ${what === "started" ? what : detail}`);
    t.same(order, ["remora-init started", "remora-sidecar started", "remora-sidecar ok", "nginx started"]);
  });

  t.test("a pod that opted out has no sidecar", async (t) => {
    t.equal(cluster.pod("shop/optedout").log("remora-sidecar"), "");
  });

  t.test("settings that make no sense, and an app with the sidecar's user id, are refused", async (t) => {
    const misspelt = client("shop").replace(
      "labels: { app: client }",
      'labels: { app: client }, annotations: { "remora.io/mode": "strictt" }',
    );
    await t.rejects(cluster.apply(misspelt), { message: /remora\.io\/mode.*strictt/s });
    await t.rejects(cluster.apply(client("shop").replace("runAsUser: 1000", "runAsUser: 1337")), { message: /1337/ });
  });
});

// HTTP between pods that came out of the injector: what reaches an unmodified nginx, what an observer of the wire sees, and who is turned away.
import { readFileSync } from "node:fs";
import t from "tap";
import { requires } from "../support/requires.ts";
import { startCluster } from "./cluster.ts";
import { annotated, client, NGINX, renamed } from "./manifests.ts";
import { captureWire, isTls13ServerHello } from "./wire-capture.ts";

const skip = requires("root", "ip", "iptables", "nginx", "curl", "tcpdump");
// Several processes per pod: on a busy machine of two cores this takes its time.
t.setTimeout(300_000);
const CLIENT = "spiffe://cluster.local/ns/shop/sa/client";
const WEB = "spiffe://cluster.local/ns/shop/sa/web";

t.test("curl in a meshed pod reaches an unmodified nginx through mutual TLS 1.3", { skip }, async (t) => {
  const cluster = await startCluster(t);
  const door = annotated(renamed(NGINX, "web", "door"), { "remora.io/mode": "permissive" });
  await cluster.apply(NGINX, door, client("shop"), client("legacy"));
  const web = cluster.pod("shop/web");
  const meshed = cluster.pod("shop/client");
  const { ipv4, ipv6 } = cluster.address("shop/web");
  const [webIpv4 = "", webIpv6 = ""] = web.facts.podIps;
  /** Requests in nginx's access log, apart from those of its own probes. */
  const seenByNginx = () =>
    web
      .log("nginx")
      .split("\n")
      .filter((line) => line.includes("curl/")).length;

  t.test("by its service address, and nothing of it is readable on the wire", async (t) => {
    const wire = await captureWire(t, cluster.runner.network.bridge, `tcp and host ${meshed.facts.podIps[0]} and host ${webIpv4}`);
    const answer = await meshed.exec("app", ["curl", "-sSi", "-H", "x-secret: hush-hush", `http://${ipv4}:8000/`]);
    t.match(answer.stdout, /^HTTP\/1\.1 200 OK/, answer.stderr);
    t.match(answer.stdout, "hello from nginx");
    t.match(answer.stdout, new RegExp(`client: .*URI=${CLIENT}`), "nginx is told who called");
    const payloads = await wire.stop();
    t.ok(payloads.length > 4, `${payloads.length} segments with payload`);
    t.ok(payloads.some(isTls13ServerHello), "the server hello selects TLS 1.3");
    const all = Buffer.concat([...payloads]);
    for (const text of ["GET /", "hello from nginx", "hush-hush", "HTTP/1.1"]) t.notOk(all.includes(text), `"${text}" is not on the wire`);
  });

  t.test("and both ends log who the other is", async (t) => {
    const log = (pod: typeof web, direction: string) =>
      cluster.sidecarLog(pod).find((line) => line["msg"] === "mesh connection" && line["direction"] === direction);
    t.match(log(meshed, "outbound"), { peer: WEB, tls: "TLSv1.3", port: 80 });
    t.match(log(web, "inbound"), { peer: CLIENT, tls: "TLSv1.3", port: 80 });
  });

  t.test("by name, by the pod's address, and by IPv6", async (t) => {
    for (const url of ["http://web.shop:8000/", `http://[${ipv6}]:8000/`, `http://${webIpv4}/`, `http://[${webIpv6}]/`]) {
      const answer = await meshed.exec("app", ["curl", "-sS", "-w", "%{http_code}", url]);
      t.match(answer.stdout, /hello from nginx.*200$/s, `${url} ${answer.stderr}`);
      t.match(answer.stdout, CLIENT, `${url} through the mesh`);
    }
  });

  t.test("with bodies up and down", async (t) => {
    const down = await meshed.exec("app", ["sh", "-c", `curl -sS http://${ipv4}:8000/files/1m.bin | wc -c`]);
    t.equal(down.stdout.trim(), "1048576", down.stderr);
    const up = await meshed.exec("app", ["sh", "-c", `head -c 5000000 /dev/zero | curl -sS -T - http://${ipv4}:8000/upload`]);
    t.equal(up.stdout, "stored\n", up.stderr);
  });

  t.test("and a forged identity header does not get through", async (t) => {
    const answer = await meshed.exec("app", [
      "curl",
      "-sS",
      "-H",
      "x-forwarded-client-cert: URI=spiffe://cluster.local/ns/shop/sa/root",
      `http://${ipv4}:8000/`,
    ]);
    t.notMatch(answer.stdout, "sa/root");
  });

  t.test("while a client outside of the mesh is refused", async (t) => {
    const before = seenByNginx();
    for (const url of [`http://${webIpv4}/`, `http://[${webIpv6}]/`]) {
      const answer = await cluster.pod("legacy/client").exec("app", ["curl", "-sS", "-m", "5", url]);
      t.not(answer.code, 0, url);
      t.equal(answer.stdout, "");
    }
    t.equal(seenByNginx(), before, "nginx saw nothing of it");
    t.match(
      cluster.sidecarLog(web).findLast((line) => line["msg"] === "refused"),
      { reason: "plaintext_refused" },
    );
  });

  t.test("and the pod's own probes work all along", async (t) => {
    t.ok(web.isReady());
    t.equal(web.restarts("nginx"), 0);
    t.equal(web.restarts("remora-sidecar"), 0);
    t.ok(web.events.some((event) => event.container === "nginx" && event.what === "startup_ok"));
  });

  t.test("and a destination outside of the mesh is reached as before", async (t) => {
    const outside = await meshed.exec("app", [
      "curl",
      "-sS",
      "-o",
      "/dev/null",
      "-w",
      "%{http_code}",
      `http://${cluster.runner.network.hostIpv4}:15014/live`,
    ]);
    t.equal(outside.stdout, "200", outside.stderr);
  });

  t.test("a permissive pod also serves clients outside of the mesh", async (t) => {
    for (const ip of cluster.pod("shop/door").facts.podIps) {
      const url = ip.includes(":") ? `http://[${ip}]/` : `http://${ip}/`;
      const observed = await captureWire(t, cluster.runner.network.bridge, `tcp and host ${ip} and port 80`);
      const plain = await cluster.pod("legacy/client").exec("app", ["curl", "-sS", "-H", `x-forwarded-client-cert: URI=${CLIENT}`, url]);
      t.match(plain.stdout, "hello from nginx", plain.stderr);
      t.notMatch(plain.stdout, CLIENT, "without an identity, whatever it says");
      t.ok(
        Buffer.concat([...(await observed.stop())]).includes("hello from nginx"),
        "and what is plaintext, the capture of the wire shows",
      );
      const secured = await meshed.exec("app", ["curl", "-sS", url]);
      t.match(secured.stdout, CLIENT, secured.stderr);
    }
  });

  t.test("a workload reaches itself by its own service and by its own address", async (t) => {
    for (const url of [
      `http://${ipv4}:8000/`,
      `http://[${ipv6}]:8000/`,
      `http://${webIpv4}/`,
      `http://[${webIpv6}]/`,
      "http://127.0.0.1/",
      "http://[::1]/",
    ]) {
      const answer = await web.exec("nginx", ["curl", "-sS", "-m", "5", url]);
      t.match(answer.stdout, "hello from nginx", `${url} ${answer.stderr}`);
    }
  });

  t.test("the sidecar's own ports are no way in for the outside", async (t) => {
    const outside = cluster.pod("legacy/client");
    const before = seenByNginx();
    for (const name of ["shop/web", "shop/door"]) {
      for (const ip of cluster.pod(name).facts.podIps) {
        const host = ip.includes(":") ? `[${ip}]` : ip;
        for (const port of [15001, 15006]) {
          const direct = await outside.exec("app", ["curl", "-sS", "-m", "3", "-H", "host: web.shop:8000", `http://${host}:${port}/`]);
          t.not(direct.code, 0, `${name} ${host}:${port} answers nothing: ${direct.stdout}`);
          const proxied = await outside.exec("app", ["curl", "-sS", "-m", "3", "-x", `http://${host}:${port}`, `http://${ipv4}:8000/`]);
          t.not(proxied.code, 0, `${name} ${host}:${port} is no proxy: ${proxied.stdout}`);
        }
        const exit = await outside.exec("app", [
          "curl",
          "-sS",
          "-o",
          "/dev/null",
          "-w",
          "%{http_code}",
          "-X",
          "POST",
          `http://${host}:15020/exit`,
        ]);
        t.equal(exit.stdout, "403", `POST /exit of ${name} is for loopback only`);
      }
    }
    t.equal(seenByNginx(), before, "nginx saw nothing of it");
    t.equal(web.restarts("remora-sidecar"), 0);
  });

  t.test("what an idle sidecar takes", async (t) => {
    const status = readFileSync(`/proc/${cluster.pod("shop/door").pid("remora-sidecar")}/status`, "utf8");
    const kilobytes = (field: string) => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? 0);
    const { events } = cluster.pod("shop/door");
    const at = (what: string) => events.find((event) => event.container === "remora-sidecar" && event.what === what)?.atMs ?? 0;
    t.comment(
      `sidecar: RSS ${Math.round(kilobytes("VmRSS") / 1024)} MiB, RssAnon ${Math.round(kilobytes("RssAnon") / 1024)} MiB, ` +
        `ready ${at("startup_ok") - at("started")} ms after its start`,
    );
    t.ok(kilobytes("RssAnon") > 0);
  });
});

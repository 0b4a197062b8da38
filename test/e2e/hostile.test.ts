// Bytes that no honest client sends, to every port that the mesh opens: of pods, their sidecars and the control plane. Nothing may answer them as if
// they were fine, and nothing else may break.
import { randomBytes } from "node:crypto";
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import t, { type Test } from "tap";
import { requires } from "../support/requires.ts";
import { type Cluster, startCluster } from "./cluster.ts";
import { client, NGINX } from "./manifests.ts";

const skip = requires("root", "ip", "iptables", "nginx", "curl");
// Several processes per pod: on a busy machine of two cores this takes its time.
t.setTimeout(300_000);

/** How long a connection that stays open may do so here; the ports' own limits are tested with a fake clock elsewhere. */
const PATIENCE_MS = 400;
const HTTP2_PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
/** The first bytes of a TLS record that promises a ClientHello of 512 bytes. */
const HALF_CLIENT_HELLO = Buffer.from("1603010200010001fc0303", "hex");

const PAYLOADS: Readonly<Record<string, Buffer>> = {
  nothing: Buffer.alloc(0),
  "random bytes": randomBytes(4096),
  zeros: Buffer.alloc(64 * 1024),
  "half a request head": Buffer.from("GET / HTTP/1.1\r\nhost: web.shop\r\nx-half: "),
  "a request head of 1 MiB": Buffer.concat([Buffer.from("GET / HTTP/1.1\r\nhost: web.shop\r\nx: "), Buffer.alloc(1024 * 1024, "a")]),
  "two lengths": Buffer.from("POST / HTTP/1.1\r\nhost: web.shop\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"),
  "half a ClientHello": HALF_CLIENT_HELLO,
  "a ClientHello of garbage": Buffer.concat([HALF_CLIENT_HELLO, randomBytes(505)]),
  "HTTP/2 with garbage frames": Buffer.concat([HTTP2_PREFACE, randomBytes(2000)]),
  "HTTP/2 with a frame of 16 MiB announced": Buffer.concat([HTTP2_PREFACE, Buffer.from("ffffff000100000001", "hex"), Buffer.alloc(1000)]),
};

/** What came back before the connection ended, or within the patience. */
function throwAt(host: string, port: number, payload: Buffer): Promise<string> {
  return new Promise((done) => {
    const socket = connect({ host, port });
    collect(socket, done);
    socket.on("connect", () => socket.write(payload));
  });
}

/** A TLS client that says it is of the mesh but has no certificate. */
function pretendMesh(host: string, port: number, alpn: string): Promise<string> {
  return new Promise((done) => {
    const socket = connectTls({
      host,
      port,
      ALPNProtocols: [alpn],
      servername: "p80.web.shop.sa.cluster.local",
      rejectUnauthorized: false,
    });
    collect(socket, done);
    socket.on("secureConnect", () => socket.write("GET / HTTP/1.1\r\nhost: web.shop\r\n\r\n"));
  });
}

function collect(socket: Socket, done: (received: string) => void): void {
  let received = "";
  const timer = setTimeout(() => socket.destroy(), PATIENCE_MS);
  socket.on("data", (chunk: Buffer) => (received += chunk.toString("latin1")));
  socket.on("error", () => {});
  socket.on("close", () => {
    clearTimeout(timer);
    done(received);
  });
}

t.test("garbage on every port disturbs nobody", { skip }, async (t) => {
  const cluster = await startCluster(t);
  await cluster.apply(NGINX, client("shop"));
  const web = cluster.pod("shop/web");
  const podPorts = web.facts.podIps.flatMap((host) => [80, 15001, 15006, 15020].map((port) => ({ host, port })));
  const controlPorts = [15010, 15014, 15017].map((port) => ({ host: cluster.runner.network.hostIpv4, port }));

  for (const [name, payload] of Object.entries(PAYLOADS)) {
    const answers = await Promise.all(
      [...podPorts, ...controlPorts].map(async (to) => ({ ...to, received: await throwAt(to.host, to.port, payload) })),
    );
    for (const { host, port, received } of answers) {
      t.notMatch(received, /^HTTP\/1\.1 2/, `${name} to ${host} port ${port}`);
      t.notMatch(received, "hello from nginx");
    }
  }
  for (const alpn of ["remora/h1", "remora/h2", "remora/tcp", "h2", "http/1.1"]) {
    for (const { host, port } of podPorts)
      t.notMatch(await pretendMesh(host, port, alpn), "hello from nginx", `${alpn} without a certificate to port ${port}`);
  }
  await theMeshIsWell(t, cluster);
});

async function theMeshIsWell(t: Test, cluster: Cluster): Promise<void> {
  const web = cluster.pod("shop/web");
  const answer = await cluster.pod("shop/client").exec("app", ["curl", "-sS", `http://${cluster.address("shop/web").ipv4}:8000/`]);
  t.match(answer.stdout, "hello from nginx", answer.stderr);
  t.equal(web.restarts("remora-sidecar"), 0);
  t.ok(web.isReady());
  t.ok(cluster.control.isRunning());
  t.match(await cluster.control.api("/api/v1/health"), { status: "ok" });
  t.notMatch(cluster.control.log() + web.log("remora-sidecar"), /"level":"(error|fatal)"|uncaught|unhandled/i, "nobody was surprised");
  // The webhook still admits: another pod comes up.
  await cluster.apply(client("shop").replace("name: client,", "name: another,"));
  t.ok(cluster.pod("shop/another").isReady());
}

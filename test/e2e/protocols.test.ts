// What is not plain HTTP/1.1 between injected pods: opaque TCP, WebSocket, and gRPC of all four kinds.
import t from "tap";
import { requires } from "../support/requires.ts";
import { startCluster } from "./cluster.ts";
import { CHAT, client, ECHO, REDIS } from "./manifests.ts";

const skip = requires("root", "ip", "iptables", "redis-server", "redis-cli");
// Several processes per pod: on a busy machine of two cores this takes its time.
t.setTimeout(90_000);
const CLIENT = "spiffe://cluster.local/ns/shop/sa/client";

t.test("opaque TCP, WebSocket and gRPC pass between injected pods", { skip }, async (t) => {
  const cluster = await startCluster(t);
  await cluster.apply(REDIS, CHAT, ECHO, client("shop"), client("legacy"));
  const app = cluster.pod("shop/client");

  t.test("a Redis client talks to a Redis pod, over IPv4 and IPv6", async (t) => {
    const { ipv4, ipv6 } = cluster.address("shop/cache");
    for (const host of [ipv4, ipv6]) {
      t.equal((await app.exec("app", ["redis-cli", "-h", host, "set", "colour", host])).stdout.trim(), "OK");
      t.equal((await app.exec("app", ["redis-cli", "-h", host, "get", "colour"])).stdout.trim(), host);
    }
    const large = await app.exec("app", [
      "sh",
      "-c",
      `head -c 3000000 /dev/zero | tr '\\0' z | redis-cli -h ${ipv4} -x set big > /dev/null; redis-cli -h ${ipv4} strlen big`,
    ]);
    t.equal(large.stdout.trim(), "3000000");
    t.match(
      cluster.sidecarLog(cluster.pod("shop/cache")).find((line) => line["msg"] === "mesh connection"),
      { peer: CLIENT, alpn: "remora/tcp" },
    );
    const plain = await cluster
      .pod("legacy/client")
      .exec("app", ["redis-cli", "-h", cluster.pod("shop/cache").facts.podIps[0] ?? "", "ping"]);
    t.notMatch(plain.stdout, "PONG", "a client without a certificate is refused");
  });

  t.test("a WebSocket stays open in both directions", async (t) => {
    const { ipv4, ipv6 } = cluster.address("shop/chat");
    for (const host of [ipv4, `[${ipv6}]`]) {
      const { stdout, stderr } = await cluster.runApp(app, "ws-client", [`ws://${host}/ws`]);
      const { received, end } = JSON.parse(stdout || "{}") as { received: string[]; end: string };
      t.equal(end, "4321 enough", stderr);
      t.match(received[0], CLIENT, "the app is told who opened it");
      t.same(received.slice(1), ["first", "hex:010203", "200000 characters"]);
    }
  });

  t.test("gRPC of all four kinds, with trailers and binary metadata", async (t) => {
    const { ipv4, ipv6 } = cluster.address("shop/echo");
    for (const target of [`${ipv4}:9090`, `[${ipv6}]:9090`]) {
      const { stdout, stderr } = await cluster.runApp(app, "grpc-client", [target], { timeoutMs: 15_000 });
      const seen = JSON.parse(stdout || "{}") as Record<
        string,
        { code: number; texts: string[]; headers: Record<string, string>; trailers: Record<string, string>; details: string }
      >;
      t.match(seen["unary"], { code: 0, texts: ["hello", "10"], trailers: { count: "1", "checksum-bin": "hex:000102ff" } }, stderr);
      t.match(seen["unary"]?.headers, { "echo-x-plain": "a value", "echo-x-blob-bin": "hex:deadbeef" });
      t.notMatch(JSON.stringify(seen["unary"]?.headers), "sa/forged", "what the mesh says, an app cannot");
      t.match(seen["large"], { code: 0, texts: ["large", "1000000"] });
      t.match(seen["serverStream"], { code: 0, texts: ["part 0", "part 1", "part 2", "part 3", "part 4"], trailers: { count: "5" } });
      t.match(seen["clientStream"], { code: 0, texts: ["a,b,c"], trailers: { count: "3" } });
      t.match(seen["bidi"], { code: 0, texts: ["ping 0", "ping 1", "ping 2", "ping 3"], trailers: { count: "4" } });
      t.match(seen["fail"], { code: 9, details: "not today, 100 %", trailers: { "why-bin": "hex:62656361757365" } });
    }
  });
});

// What is not plain HTTP/1.1 between injected pods: opaque TCP, WebSocket, and gRPC of all four kinds.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import t from "tap";
import { requires } from "../support/requires.ts";
import { startCluster } from "./cluster.ts";
import { CHAT, client, ECHO, GREETER, REDIS, SECURE } from "./manifests.ts";

const skip = requires("root", "ip", "iptables", "redis-server", "redis-cli", "nginx", "curl", "openssl");
// Several processes per pod: on a busy machine of two cores this takes its time.
t.setTimeout(300_000);
const CLIENT = "spiffe://cluster.local/ns/shop/sa/client";

t.test("opaque TCP, WebSocket and gRPC pass between injected pods", { skip }, async (t) => {
  const cluster = await startCluster(t, { configMaps: { secure: secureServer() } });
  await cluster.apply(REDIS, CHAT, ECHO, GREETER, SECURE, client("shop"), client("legacy"));
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

  t.test("TCP whose server speaks first, with a half that ends before the answer", async (t) => {
    const { ipv4, ipv6 } = cluster.address("shop/greeter");
    for (const host of [ipv4, ipv6]) {
      const { stdout, stderr } = await cluster.runApp(app, "tcp-client", [host, "2500", "2000000"]);
      t.equal(stdout, `220 greetings\n2000000 ${createHash("sha256").update("x".repeat(2_000_000)).digest("hex")}\n`, stderr);
    }
    t.match(
      cluster.sidecarLog(cluster.pod("shop/greeter")).find((line) => line["msg"] === "mesh connection"),
      { peer: CLIENT, alpn: "remora/tcp" },
    );
  });

  t.test("an app's own TLS passes through the mesh's", async (t) => {
    const { ipv4, ipv6 } = cluster.address("shop/secure");
    for (const url of [`https://${ipv4}/`, `https://[${ipv6}]/`]) {
      const { stdout, stderr } = await app.exec("app", ["curl", "-sSk", "-w", " %{ssl_verify_result}", url]);
      t.equal(stdout, "own TLS 18", `${stderr}: curl sees the app's self-signed certificate (18)`);
    }
    t.match(
      cluster.sidecarLog(cluster.pod("shop/secure")).find((line) => line["msg"] === "mesh connection"),
      { peer: CLIENT, alpn: "remora/tcp" },
    );
    const plain = await cluster
      .pod("legacy/client")
      .exec("app", ["curl", "-sSk", "-m", "5", `https://${cluster.pod("shop/secure").facts.podIps[0]}/`]);
    t.not(plain.code, 0, "TLS alone does not get a client in");
  });
});

/** nginx with a self-signed certificate, as the ConfigMap's files. */
function secureServer(): Record<string, string> {
  const args = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=secure.shop -days 1 -keyout - -out -".split(" ");
  const keyAndCertificate = execFileSync("openssl", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  const pem = "/etc/nginx/conf.d/tls.pem";
  const listen = `listen 443 ssl; listen [::]:443 ssl; ssl_certificate ${pem}; ssl_certificate_key ${pem};`;
  return {
    "tls.pem": keyAndCertificate,
    "default.conf": `server { ${listen} location / { return 200 "own TLS"; } }`,
  };
}

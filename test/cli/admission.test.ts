// Who may call the control plane's gRPC port, on a real one: every method of every service, with every kind of certificate that proves nothing.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createSecureContext } from "node:tls";
import { Client, type ClientDuplexStream, credentials, Metadata, type MethodDefinition, status } from "@grpc/grpc-js";
import t, { type Test } from "tap";
import { loadControlConfig } from "../../cli/control/config.ts";
import { type ControlPlane, startControl } from "../../cli/control/control.ts";
import { systemClock } from "../../core/clock.ts";
import * as services from "../../core/wire/load.ts";
import { askService, heartbeatOf } from "../registry/harness.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { createThrowawayCa, type Leaf, type ThrowawayCa } from "../support/throwaway-ca.ts";
import { createMemoryLog, type LogLine } from "../support/throwaway-control.ts";

type Method = MethodDefinition<unknown, unknown>;
interface Ended {
  readonly code: number;
  readonly details: string;
}

const methods = Object.values(services).flatMap((service) => Object.values(service) as unknown as Method[]);
const methodOf = (name: string) => methods.find(({ path }) => path.endsWith(name)) as Method;
const DAY_MS = 86_400_000;

interface Started {
  readonly ca: ThrowawayCa;
  readonly control: ControlPlane;
  readonly lines: readonly LogLine[];
  metric(line: string): Promise<number>;
}

async function start(t: Test, env: Readonly<Record<string, string>> = {}): Promise<Started> {
  const folder = temporaryFolder(t);
  const ca = createThrowawayCa();
  const [REMORA_CA_CERT_FILE, REMORA_CA_KEY_FILE] = [join(folder, "root.pem"), join(folder, "root.key")];
  writeFileSync(REMORA_CA_CERT_FILE, ca.rootPem);
  writeFileSync(REMORA_CA_KEY_FILE, ca.rootKeyPem, { mode: 0o600 });
  const ports = { REMORA_GRPC_PORT: "0", REMORA_ADMIN_PORT: "0", REMORA_STATE_DIR: folder };
  const config = loadControlConfig({ ...ports, REMORA_CA_CERT_FILE, REMORA_CA_KEY_FILE, ...env });
  const { log, lines } = createMemoryLog();
  const control = await startControl(config, { env: {}, clock: systemClock, log, onExit: () => {} });
  t.teardown(() => control.drain("the test is over"));
  const metric = async (line: string) => {
    const text = await (await fetch(`http://127.0.0.1:${control.ports.admin}/metrics`)).text();
    const found = text.split("\n").find((candidate) => candidate.startsWith(`${line} `));
    return found === undefined ? 0 : Number(found.slice(line.length + 1));
  };
  return { ca, control, lines, metric };
}

function connect(t: Test, { ca, control }: Started, leaf: Leaf | null): Client {
  const context = createSecureContext({ ca: ca.rootPem, ...(leaf === null ? {} : { key: leaf.keyPem, cert: leaf.certPem }) });
  const options = { "grpc.use_local_subchannel_pool": 1, "grpc.enable_retries": 0, "grpc.ssl_target_name_override": "localhost" };
  const trusted = credentials.createFromSecureContext(context, { checkServerIdentity: () => undefined });
  const client = new Client(`127.0.0.1:${control.ports.grpc}`, trusted, options);
  t.teardown(() => client.close());
  return client;
}

/** Calls a method with an empty message and waits for its end. */
function call(client: Client, method: Method, metadata = new Metadata(), message: unknown = {}): Promise<Ended> {
  const { path, requestSerialize, responseDeserialize } = method;
  return new Promise((resolve) => {
    const options = { deadline: Date.now() + 20_000 };
    if (!method.requestStream && !method.responseStream) {
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, message, metadata, options, (error) =>
        resolve(error === null ? { code: 0, details: "" } : { code: error.code, details: error.details }),
      );
      return;
    }
    const stream = method.requestStream
      ? client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata, options)
      : client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, message, metadata, options);
    stream.on("error", () => {});
    stream.on("data", () => resolve({ code: 0, details: "answered" }));
    stream.on("status", (ended: Ended) => resolve(ended));
    if (method.requestStream) (stream as ClientDuplexStream<unknown, unknown>).write(message);
  });
}

t.test("every method but Certify needs an identity of this mesh that is valid now", async (t) => {
  const started = await start(t);
  const { ca } = started;
  const nowMs = Date.now();
  const strangers: Readonly<Record<string, Leaf | null>> = {
    "no certificate": null,
    expired: ca.leaf("shop/web", { notBeforeMs: nowMs - 2 * DAY_MS, notAfterMs: nowMs - 1000 }),
    "not valid yet": ca.badLeaf("not-yet-valid", "shop/web"),
    "of another trust domain, by our root": ca.badLeaf("wrong-trust-domain", "shop/web"),
    "of another trust domain and root": createThrowawayCa({ trustDomain: "elsewhere.example" }).leaf("shop/web"),
    "of another root": ca.badLeaf("foreign", "shop/web"),
    "self-signed": selfSigned(),
    "two names": ca.badLeaf("two-san", "shop/web"),
    "no name": ca.badLeaf("missing-san", "shop/web"),
    "a CA's": ca.badLeaf("ca-leaf", "shop/web"),
    "of another use": ca.badLeaf("wrong-usage", "shop/web"),
  };
  t.strictSame(methods.map(({ path }) => path).sort(), [
    "/remora.v1.Identity/Certify",
    "/remora.v1.Identity/WatchTrust",
    "/remora.v1.Registry/Heartbeat",
    "/remora.v1.Registry/Watch",
  ]);
  for (const [what, leaf] of Object.entries(strangers)) {
    const client = connect(t, started, leaf);
    for (const method of methods) {
      const { code, details } = await call(client, method);
      t.equal(code, status.UNAUTHENTICATED, `${method.path} with a certificate that is ${what}: ${details}`);
      t.match(details, method.path.endsWith("Certify") ? /credential/ : /client certificate/, "Certify asks for a credential instead");
    }
  }
  const friend = connect(t, started, ca.leaf("shop/web"));
  t.match(await call(friend, methodOf("WatchTrust")), { code: 0 });
  t.match(await call(friend, methodOf("Watch"), new Metadata(), askService("orders")), { code: 0 });
  t.match(await call(friend, methodOf("Certify")), { code: status.INVALID_ARGUMENT });
  t.ok((await started.metric('remora_calls_refused_total{method="Registry/Watch",reason="unauthenticated"}')) >= 11);
  t.match(
    started.lines.find(({ msg, method }) => msg === "call refused" && method === "Registry/Watch"),
    { reason: "unauthenticated", identity: null, peer: /^127\.0\.0\.1:/ },
  );
});

/** A key that vouches for itself under a name of the mesh. */
function selfSigned(): Leaf {
  const stranger = createThrowawayCa();
  return {
    key: stranger.rootKey,
    keyPem: stranger.rootKeyPem,
    certificate: stranger.root,
    certPem: stranger.rootPem,
    der: stranger.root.raw,
  };
}

t.test("metadata and messages are bounded", async (t) => {
  const started = await start(t);
  const client = connect(t, started, started.ca.leaf("shop/web"));
  const metadata = new Metadata();
  metadata.set("x-large", "y".repeat(9000));
  for (const method of methods) {
    const { code, details } = await call(client, method, metadata);
    t.equal(code, status.RESOURCE_EXHAUSTED, method.path);
    t.match(details, /bytes of metadata, at most 8192/);
  }
  t.equal(await started.metric('remora_calls_refused_total{method="Identity/Certify",reason="metadata_too_large"}'), 1);
  const large = heartbeatOf({ messageCertificate: Buffer.alloc(70 * 1024) });
  t.match(await call(client, methodOf("Heartbeat"), new Metadata(), large), { code: status.RESOURCE_EXHAUSTED });
  t.match(await call(client, methodOf("Watch"), new Metadata(), askService("x".repeat(70 * 1024))), { code: status.RESOURCE_EXHAUSTED });
});

t.test("an identity that takes too much is refused, and another one notices nothing", async (t) => {
  const env = { REMORA_IDENTITY_STREAMS: "5", REMORA_IDENTITY_CALL_RATE: "3", REMORA_IDENTITY_MESSAGE_RATE: "4" };
  const started = await start(t, env);
  const noisy = connect(t, started, started.ca.leaf("shop/noisy"));
  const quiet = connect(t, started, started.ca.leaf("shop/web"));
  const watch = methodOf("Watch");
  const open = () => noisy.makeBidiStreamRequest(watch.path, watch.requestSerialize, watch.responseDeserialize, new Metadata(), {});
  const held = Array.from({ length: 5 }, () => {
    const stream = open();
    stream.on("error", () => {});
    stream.write(askService("orders"));
    return stream;
  });
  await Promise.all(held.map((stream) => new Promise((resolve) => stream.once("data", resolve))));
  t.match(await call(noisy, watch, new Metadata(), askService("orders")), {
    code: status.RESOURCE_EXHAUSTED,
    details: /most streams open, 5/,
  });
  t.match(await call(quiet, watch, new Metadata(), askService("orders")), { code: 0 }, "streams");

  const ended = new Promise<Ended>((resolve) => held[0]?.on("status", resolve));
  for (let count = 0; count < 60; count += 1) held[0]?.write(askService(`service-${count}`));
  t.match(await ended, { code: status.RESOURCE_EXHAUSTED, details: /more than 4 messages a second/ });
  t.match(await call(quiet, watch, new Metadata(), askService("orders")), { code: 0 }, "messages");

  for (const stream of held) stream.cancel();
  const codes = new Set<number>();
  for (let count = 0; count < 40; count += 1) codes.add((await call(noisy, methodOf("Certify"))).code);
  t.ok(codes.has(status.RESOURCE_EXHAUSTED), "calls");
  t.match(await call(quiet, watch, new Metadata(), askService("orders")), { code: 0 }, "calls");
  for (const [method, reason] of [
    ["Registry/Watch", "too_many_streams"],
    ["Registry/Watch", "too_many_messages"],
    ["Identity/Certify", "too_many_calls"],
  ])
    t.ok((await started.metric(`remora_calls_refused_total{method="${method}",reason="${reason}"}`)) > 0, `${reason} is counted`);
});

t.test(
  "an address that takes too much without an identity is refused, over gRPC and REST together; identities of the same address go on",
  async (t) => {
    const started = await start(t, { REMORA_ADDRESS_CALL_RATE: "1" });
    const stranger = connect(t, started, null);
    const member = connect(t, started, started.ca.leaf("shop/web"));
    const answers: Ended[] = [];
    for (let count = 0; count < 10; count += 1) answers.push(await call(stranger, methodOf("Certify")));
    t.equal(answers[0]?.code, status.UNAUTHENTICATED, "the first is asked for a credential");
    const heartbeats = `http://127.0.0.1:${started.control.ports.admin}/api/v1/heartbeat`;
    const announce = () => fetch(heartbeats, { method: "POST", headers: { authorization: "Bearer nothing" }, body: "{}" });
    const statuses = new Set<number>();
    for (let count = 0; count < 20; count += 1) statuses.add((await announce()).status);
    t.ok(statuses.has(429), `REST: ${[...statuses].join()}`);
    let last: Ended | null = null;
    for (let count = 0; count < 20 && last?.code !== status.RESOURCE_EXHAUSTED; count += 1)
      last = await call(stranger, methodOf("Certify"));
    t.match(last, { code: status.RESOURCE_EXHAUSTED, details: /127\.0\.0\.1 makes more than 1 calls a second/ });
    t.match(await call(member, methodOf("Watch"), new Metadata(), askService("orders")), { code: 0 });
    t.ok((await started.metric('remora_calls_refused_total{method="Identity/Certify",reason="too_many_calls"}')) > 0);
    t.ok((await started.metric('remora_registry_refused_total{reason="rate_limited"}')) > 0);
  },
);

import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer as createPlainServer } from "node:net";
import { connect, createServer } from "node:tls";
import type { Test } from "tap";
import t from "tap";
import { createAuthenticator } from "../../../certs/authenticator.ts";
import { createIdentityService } from "../../../certs/identity-service.ts";
import { createIssuance } from "../../../certs/issuance.ts";
import { createIssueLimit } from "../../../certs/issue-limit.ts";
import { createIssueQueue } from "../../../certs/issue-queue.ts";
import { createServerCredentials } from "../../../certs/server-credentials.ts";
import { createTrustState } from "../../../certs/trust-bundle.ts";
import { auditToLog } from "../../../core/audit/audit.ts";
import { systemClock } from "../../../core/clock.ts";
import { startGrpcServer } from "../../../grpc/server.ts";
import { silentLogger } from "../../../core/log.ts";
import { identityService } from "../../../core/wire/load.ts";
import { createJudgedAt } from "../../../core/x509/judged-at.ts";
import { verifyPeer } from "../../../core/x509/verify-peer.ts";
import type { IdentitySource } from "../../../sidecar/identity/identity-source.ts";
import type { IdentityOptions } from "../../../sidecar/identity/start-identity.ts";
import { startIdentity } from "../../../sidecar/identity/start-identity.ts";
import { createFakeClock } from "../../support/fake-clock.ts";
import { createThrowawayCa } from "../../support/throwaway-ca.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";
import type { ThrowawayControl, ThrowawayControlOptions } from "../../support/throwaway-control.ts";
import { createMemoryLog, createTestMetrics, startThrowawayControl } from "../../support/throwaway-control.ts";

const HOUR_MS = 3_600_000;
const ids = createThrowawayCa();
const orders = ids.id("shop/orders");

async function startControl(t: Test, options: Partial<ThrowawayControlOptions> = {}): Promise<ThrowawayControl> {
  const control = await startThrowawayControl({ ...options, stateDir: options.stateDir ?? temporaryFolder(t) });
  t.teardown(() => control.close());
  return control;
}

async function join(t: Test, control: ThrowawayControl, changes: Partial<IdentityOptions> = {}): Promise<IdentitySource> {
  const joinToken = await control.ca.createJoinToken({ namespace: "shop", serviceAccount: "orders" });
  return start(t, control.address, { credential: async () => ({ joinToken }), ...changes });
}

async function start(t: Test, controlAddress: string, changes: Partial<IdentityOptions>): Promise<IdentitySource> {
  const source = await startIdentity({
    controlAddress,
    identity: orders,
    credential: () => Promise.reject(new Error("no credential")),
    pins: [],
    stateDir: null,
    clock: systemClock,
    random: () => 0.5,
    log: silentLogger(),
    metrics: createTestMetrics(),
    ...changes,
  });
  t.teardown(() => source.close());
  return source;
}

async function until(condition: () => boolean, what: string): Promise<void> {
  for (let tries = 0; tries < 400; tries += 1) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`never happened: ${what}`);
}

t.test("with nothing but a join token a workload gets its certificates", async (t) => {
  const control = await startControl(t);
  const metrics = createTestMetrics();
  const source = await join(t, control, { metrics });
  const held = source.current();
  t.equal(source.identity, orders);
  t.equal(source.trustDomain, "cluster.local");
  t.equal(held.leaf.subjectAltName, `URI:${orders}`);
  t.equal(held.roots.length, 1);
  t.equal(held.rootsPem, control.ca.trustBundle().rootsPem);
  t.equal(held.previous, null);
  const text = await metrics.registry.getSingleMetricAsString("remora_cert_expires_seconds");
  const seconds = Number(/^remora_cert_expires_seconds (\S+)/m.exec(text)?.[1]);
  t.ok(seconds > 86_300 && seconds <= 86_400, `${seconds} s`);
});

t.test("a pin in the settings and a token in a file do the same in Kubernetes", async (t) => {
  const control = await startControl(t);
  // The control plane is not in Kubernetes here: that it refuses the token shows that trust was found and the token sent.
  const { log, lines } = createMemoryLog();
  const stop = new AbortController();
  const pending = start(t, control.address, {
    credential: async () => ({ serviceAccountToken: "token" }),
    pins: control.ca.trustBundle().pins,
    log,
    signal: stop.signal,
  });
  await until(() => lines.length > 1, "two tries");
  stop.abort();
  await t.rejects(pending, { code: "unavailable", message: /stopped/ });
  t.match(lines[0], { code: "credential_refused", detail: /does not run in Kubernetes/ });
});

t.test("who is not the pinned mesh gets nothing, not even the token", async (t) => {
  const control = await startControl(t);
  const impostor = await startControl(t, { stateDir: temporaryFolder(t) });
  const joinToken = await control.ca.createJoinToken({ namespace: "shop", serviceAccount: "orders" });
  await t.rejects(start(t, impostor.address, { credential: async () => ({ joinToken }) }), {
    code: "untrusted",
    message: /not of the pinned mesh/,
  });
  await t.rejects(start(t, control.address, { credential: async () => ({ serviceAccountToken: "token" }) }), {
    code: "untrusted",
    message: /REMORA_TRUST_PIN/,
  });
  await t.rejects(start(t, control.address, { credential: async () => ({ serviceAccountToken: "t" }), pins: ["sha256:12"] }), {
    code: "malformed",
    message: /sha256:12/,
  });
  t.notOk(
    impostor.lines.some(({ msg }) => msg === "certificate refused" || msg === "certificate issued"),
    "no call was made",
  );
});

t.test("a workload of the mesh cannot play the control plane", async (t) => {
  const control = await startControl(t, { servesAs: ids.id("shop/mallory") });
  await t.rejects(join(t, control), { code: "identity_mismatch", message: /answers as .*mallory/ });
});

t.test("a spent token is final, and says so", async (t) => {
  const control = await startControl(t);
  const joinToken = await control.ca.createJoinToken({ namespace: "shop", serviceAccount: "orders" });
  await start(t, control.address, { credential: async () => ({ joinToken }) });
  await t.rejects(start(t, control.address, { credential: async () => ({ joinToken }) }), {
    code: "credential_refused",
    message: /was used before/,
  });
});

t.test("a token for somebody else is final", async (t) => {
  const control = await startControl(t);
  await t.rejects(join(t, control, { identity: ids.id("shop/payments") }), {
    code: "identity_mismatch",
    message: /the credential is of .*orders/,
  });
});

t.test("a control plane that comes later is waited for, with growing pauses", async (t) => {
  const folder = temporaryFolder(t);
  const first = await startThrowawayControl({ stateDir: folder });
  const joinToken = await first.ca.createJoinToken({ namespace: "shop", serviceAccount: "orders" });
  await first.close();
  const clock = createFakeClock(Date.now());
  const { log, lines } = createMemoryLog();
  const pending = start(t, first.address, { credential: async () => ({ joinToken }), clock, log });
  for (let tries = 1; tries <= 4; tries += 1) {
    await until(() => lines.length === tries && clock.armed > 0, `try ${tries}`);
    clock.advance(10_000);
  }
  t.match(lines[0], { msg: "no certificate yet", code: "unavailable", detail: /cannot reach the control plane at 127/ });
  t.same(lines.map((line) => line["waitMs"]).slice(0, 4), [188, 375, 750, 1500]);
  await startControl(t, { stateDir: folder, port: first.port });
  await until(() => lines.length > 4 || clock.armed > 0, "the next pause");
  clock.advance(10_000);
  t.equal((await pending).current().leaf.subjectAltName, `URI:${orders}`);
});

t.test("a peer that accepts and says nothing is given up on", async (t) => {
  const silent = createPlainServer((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n").on("error", () => {}));
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  t.teardown(() => silent.close());
  const { port } = silent.address() as { port: number };
  const { log, lines } = createMemoryLog();
  const stop = new AbortController();
  const pending = start(t, `127.0.0.1:${port}`, {
    credential: async () => ({ serviceAccountToken: "x" }),
    pins: [ids.pin],
    log,
    signal: stop.signal,
  });
  await until(() => lines.length > 0, "a failure");
  stop.abort();
  await t.rejects(pending);
  t.match(lines[0], { code: "unavailable" });
});

t.test("at 70 % of its life the certificate is swapped; open connections stay, the old message key stays known", async (t) => {
  const control = await startControl(t);
  const clock = createFakeClock(Date.now());
  const source = await join(t, control, { clock });
  const before = source.current();
  const changes: string[] = [];
  const stop = source.onChange(({ leaf }) => changes.push(leaf.serialNumber));
  source.onChange(() => {
    throw new Error("a listener that fails");
  });
  const open = await openConnection(t, source);
  const channel = source.grpcChannel();
  t.equal(source.grpcChannel(), channel, "one channel for each generation");

  await clock.advanceAsync(16.7 * HOUR_MS, HOUR_MS);
  t.equal(source.current(), before, "not before");
  await clock.advanceAsync(0.2 * HOUR_MS, 0.1 * HOUR_MS);
  await until(() => source.current() !== before, "the renewal");
  const after = source.current();
  t.same(changes, [after.leaf.serialNumber]);
  t.not(after.privateKeyPem, before.privateKeyPem);
  t.same(after.previous, { messageKey: before.messageKey, messageKeyId: before.messageKeyId, expiresAtMs: before.expiresAtMs });
  t.not(source.grpcChannel(), channel);
  t.match(
    control.lines.findLast(({ msg }) => msg === "certificate issued"),
    { credential: "client_certificate" },
  );
  t.equal(await open.echo("still here"), "still here");
  stop();
});

t.test("while the CA is away everything held goes on, and the renewal comes with its return", async (t) => {
  const folder = temporaryFolder(t);
  const control = await startThrowawayControl({ stateDir: folder });
  const clock = createFakeClock(Date.now());
  const { log, lines } = createMemoryLog();
  const source = await join(t, control, { clock, log });
  await control.close();
  const before = source.current();
  await clock.advanceAsync(17 * HOUR_MS, HOUR_MS);
  const failed = () => lines.filter(({ msg }) => msg === "the certificate is not renewed yet").length;
  await until(() => failed() === 1, "a failed renewal");
  t.equal(source.current(), before);
  await startControl(t, { stateDir: folder, port: control.port });
  await clock.advanceAsync(60_000, 1000);
  await until(() => source.current() !== before, "the renewal");
  t.equal(source.current().leaf.subjectAltName, `URI:${orders}`);
});

t.test("a restart goes on with what it has, without a token and without the control plane", async (t) => {
  const folder = temporaryFolder(t);
  const stateDir = `${folder}/sidecar`;
  const control = await startThrowawayControl({ stateDir: `${folder}/control` });
  const joinToken = await control.ca.createJoinToken({ namespace: "shop", serviceAccount: "orders" });
  const credential = async () => ({ joinToken });
  const first = await start(t, control.address, { credential, stateDir });
  await first.close();
  await control.close();
  t.same(readdirSync(stateDir).sort(), ["identity.json", "trust.json"]);
  t.equal(statSync(`${stateDir}/identity.json`).mode & 0o777, 0o600);
  t.notMatch(readFileSync(`${stateDir}/identity.json`, "utf8"), joinToken.split(".")[2]!);
  const second = await start(t, control.address, { credential, stateDir });
  t.equal(second.current().leaf.serialNumber, first.current().leaf.serialNumber);
  t.equal(second.current().messageKeyId, first.current().messageKeyId);
});

t.test("broken, foreign and expired state is ignored, never used", async (t) => {
  const folder = temporaryFolder(t);
  const stateDir = `${folder}/sidecar`;
  const control = await startControl(t, { stateDir: `${folder}/control` });
  const first = await join(t, control, { stateDir });
  const serial = first.current().leaf.serialNumber;
  const good = readFileSync(`${stateDir}/identity.json`, "utf8");
  const changed = (changes: object) => JSON.stringify({ ...(JSON.parse(good) as object), ...changes });
  const other = ids.leaf("shop/orders");
  for (const [name, text] of [
    ["half a file", good.slice(0, 100)],
    ["not an object", "7"],
    ["another root's leaf", changed({ certificateChainPem: other.certPem, privateKeyPem: other.keyPem })],
    ["another key", changed({ privateKeyPem: other.keyPem })],
    ["no message key", changed({ messageKeyPem: "" })],
  ] as const) {
    writeFileSync(`${stateDir}/identity.json`, text);
    const source = await join(t, control, { stateDir });
    t.not(source.current().leaf.serialNumber, serial, name);
  }
  writeFileSync(`${stateDir}/identity.json`, good);
  const late = createFakeClock(Date.now() + 25 * HOUR_MS);
  await t.rejects(
    start(t, "127.0.0.1:1", { clock: late, stateDir, credential: async () => ({ joinToken: "rmr1.bad" }) }),
    { code: "credential_refused" },
    "expired",
  );
});

t.test("a state folder that cannot be written costs nothing but the copy", async (t) => {
  const control = await startControl(t, { stateDir: temporaryFolder(t) });
  const { log, lines } = createMemoryLog();
  const source = await join(t, control, { stateDir: "/dev/null/state", log });
  t.ok(source.current());
  t.ok(lines.some(({ msg }) => msg?.startsWith("a state file cannot be written")));
});

t.test("a new root arrives by the stream, is kept, and a leaf of a removed one is replaced at once", async (t) => {
  const stateDir = temporaryFolder(t);
  const next = createThrowawayCa();
  const { address, trust, streams, setRoot } = await startRotatingControl(t);
  const clock = createFakeClock(Date.now());
  const credential = async () => ({
    joinToken: `rmr1.${"A".repeat(16)}.${"A".repeat(43)}.${Buffer.from(ids.pin.slice(7), "hex").toString("base64url")}`,
  });
  const source = await start(t, address, { credential, stateDir, clock });
  const first = source.current();
  await until(() => streams() > 0, "the stream");

  trust.replace([ids.root.raw, next.root.raw]);
  await until(() => source.current().roots.length === 2, "the second root");
  t.equal(source.current().leaf, first.leaf, "the leaf stays");
  const kept = () => JSON.parse(readFileSync(`${stateDir}/trust.json`, "utf8")) as { readonly rootsPem: string };
  await until(() => kept().rootsPem === source.current().rootsPem, "the bundle on disk");

  setRoot(next);
  trust.replace([next.root.raw]);
  await until(() => source.current().leaf !== first.leaf, "a leaf of the new root");
  t.ok(source.current().leaf.verify(next.root.publicKey));
  t.same(
    source.current().roots.map((root) => root.fingerprint256),
    [next.root.fingerprint256],
  );
});

/** Echoes over mTLS between the source's own credentials; both ends check each other as the mesh does. */
async function openConnection(t: Test, source: IdentitySource): Promise<{ echo(text: string): Promise<string> }> {
  const { certificateChainPem: cert, privateKeyPem: key, rootsPem: ca } = source.current();
  const server = createServer({ cert, key, ca, requestCert: true, rejectUnauthorized: true }, (socket) => socket.pipe(socket));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => server.close());
  const { port } = server.address() as { port: number };
  const socket = connect({ host: "127.0.0.1", port, cert, key, ca, checkServerIdentity: () => undefined });
  t.teardown(() => socket.destroy());
  await new Promise((resolve) => socket.once("secureConnect", resolve));
  verifyPeer(socket, {
    trustDomain: "cluster.local",
    usage: "server",
    expected: source.identity,
    roots: source.current().roots,
    nowMs: Date.now(),
  });
  return {
    echo: (text) =>
      new Promise((resolve) => {
        socket.once("data", (chunk: Buffer) => resolve(chunk.toString()));
        socket.write(text);
      }),
  };
}

/** A control plane whose root can be changed while it runs, put together from the CA's own parts. Any join token will do. */
async function startRotatingControl(t: Test) {
  let root = ids.signer;
  let streams = 0;
  const trust = createTrustState([ids.root.raw]);
  const joinTokens = {
    create: () => Promise.reject(new Error("not here")),
    prove: async () => ({ id: "any", identity: orders }),
    consume: () => Promise.resolve(),
    sweep: () => Promise.resolve(),
  };
  const authenticate = createAuthenticator({
    trustDomain: "cluster.local",
    judgedAt: createJudgedAt(systemClock),
    // As at the end of a rotation: who holds a certificate of the old root may still renew with it.
    roots: () => [...trust.current().certificates, ids.root],
    serviceAccounts: null,
    joinTokens,
  });
  const log = silentLogger();
  const parts = { clock: systemClock, random: randomBytes, leafTtlMs: 24 * HOUR_MS, root: () => root };
  const issue = createIssuance({
    ...parts,
    authenticate,
    limit: createIssueLimit(systemClock),
    queue: createIssueQueue({ clock: systemClock }),
  });
  const service = createIdentityService({
    trustDomain: "cluster.local",
    issue,
    authenticate,
    trust,
    bridges: () => [],
    renewWithinMs: 1000,
    log,
    audit: auditToLog(log),
    count: () => {},
  });
  const own = createServerCredentials(ids.id("remora-system/remora-control"), { ...parts, trust, log });
  const watched = {
    ...service.implementation,
    watchTrust: (call: Parameters<typeof service.implementation.watchTrust>[0]) => {
      streams += 1;
      service.implementation.watchTrust(call);
    },
  };
  const server = await startGrpcServer({
    host: "127.0.0.1",
    port: 0,
    log,
    services: [{ definition: identityService, implementation: watched }],
    tls: () => ({ ...own.tls(), ca: `${own.tls().ca}${ids.rootPem}` }),
    onTlsChange: own.onTlsChange,
    closeGraceMs: 50,
  });
  t.teardown(async () => {
    service.close();
    own.close();
    await server.close();
  });
  return {
    address: `127.0.0.1:${server.port}`,
    trust,
    streams: () => streams,
    setRoot(next: typeof ids) {
      root = next.signer;
    },
  };
}

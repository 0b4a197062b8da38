// A workload through a rotation of the root, with a real CA: awake, asleep through all of it, and below an issuer. Credentials are service-account tokens.
import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { connect, createServer, type TLSSocket } from "node:tls";
import t, { type Test } from "tap";
import { makeIssuer, makeOfflineRoot } from "../../../certs/ceremony.ts";
import { readAuthority } from "../../../certs/authority-data.ts";
import { createFileRootStore } from "../../../certs/file-root-store.ts";
import { addRoot, crossSign, issueFromNext, removeOld } from "../../../certs/rotation.ts";
import { systemClock } from "../../../core/clock.ts";
import { spiffeId } from "../../../core/spiffe.ts";
import { checkMessageCertificate } from "../../../core/x509/peer-check.ts";
import { toPem } from "../../../core/x509/pem.ts";
import { rootIdOf } from "../../../core/x509/root-id.ts";
import { verifyPeer } from "../../../core/x509/verify-peer.ts";
import type { IdentitySource } from "../../../sidecar/identity/identity-source.ts";
import { startIdentity } from "../../../sidecar/identity/start-identity.ts";
import { trustReport } from "../../../sidecar/identity/trust-report.ts";
import { until } from "../../e2e/until.ts";
import { openssl } from "../../core/x509/openssl.ts";
import { createMemoryLog, createTestMetrics, startThrowawayControl, type ThrowawayControl } from "../../support/throwaway-control.ts";

const DAY_MS = 86_400_000;
const WAIT_MS = 20_000;
const trustDomain = "cluster.local";
const orders = spiffeId({ trustDomain, namespace: "shop", serviceAccount: "orders" });

async function join1(t: Test, control: ThrowawayControl, stateDir: string): Promise<IdentitySource> {
  const joinToken = await control.ca.createJoinToken({ namespace: "shop", serviceAccount: "orders" });
  const source = await startIdentity({
    controlAddress: control.address,
    identity: orders,
    credential: async () => ({ joinToken }),
    pins: [],
    stateDir,
    clock: systemClock,
    random: Math.random,
    log: createMemoryLog().log,
    metrics: createTestMetrics(),
  });
  t.teardown(() => source.close());
  return source;
}

/** Takes one step where the CA is kept. The control plane sees it within a second. */
async function take(stateDir: string, step: "add" | "issue" | "remove"): Promise<void> {
  const store = createFileRootStore(stateDir);
  const kept = await store.load();
  if (kept === null) throw new Error("no CA is kept");
  const context = { place: stateDir, trustDomain, nowMs: Date.now() };
  const settings = { ...context, ttlMs: 3650 * DAY_MS, random: randomBytes };
  const next = makeOfflineRoot(settings);
  const cross = crossSign(next.certificate, readAuthority(kept.data, stateDir, context).signer, settings);
  const data =
    step === "add"
      ? addRoot(
          kept.data,
          { ...next, rootPem: next.certificatePem, crossPem: cross === null ? null : toPem(cross, "CERTIFICATE") },
          context,
        )
      : step === "issue"
        ? issueFromNext(kept.data, context)
        : removeOld(kept.data, context);
  await store.replace(data, kept.version);
}

function report(source: IdentitySource) {
  return trustReport(source.current(), { trustDomain, nowMs: Date.now() });
}

t.test("who is awake follows each step: trusts, renews, forgets", async (t) => {
  const stateDir = t.testdir();
  const control = await startThrowawayControl({ stateDir, leafTtlMs: 10_000 });
  t.teardown(() => control.close());
  const source = await join1(t, control, join(stateDir, "own"));
  const before = report(source);
  await take(stateDir, "add");
  await until("both are trusted", WAIT_MS, () => report(source).trustedRoots.length === 2);
  await take(stateDir, "issue");
  await until("the leaf is of the new root", WAIT_MS, () => report(source).issuedByRoot !== before.issuedByRoot);
  await take(stateDir, "remove");
  await until("the old one is forgotten", WAIT_MS, () => report(source).trustedRoots.length === 1);
  t.same(report(source).trustedRoots, [report(source).issuedByRoot]);
  t.equal(control.ca.status().step, "steady");
  t.equal(control.ca.trustBundle().issuingRoot, report(source).issuedByRoot);
});

t.test("who slept through all three steps, and knows the old root alone, finds the mesh again", async (t) => {
  const stateDir = t.testdir();
  const control = await startThrowawayControl({ stateDir, leafTtlMs: 60_000 });
  t.teardown(() => control.close());
  const oldPem = control.ca.trustBundle().rootsPem;
  const pin = control.ca.trustBundle().pins[0] ?? "";
  for (const step of ["add", "issue", "remove"] as const) {
    const { version } = control.ca.trustBundle();
    await take(stateDir, step);
    await until(step, WAIT_MS, () => control.ca.trustBundle().version > version);
  }
  t.notMatch(control.ca.trustBundle().rootsPem, oldPem);
  const joinToken = await control.ca.createJoinToken({ namespace: "shop", serviceAccount: "orders" });
  // Its token names the new root; the pin of its pod, and what it remembers on disk, are of the old one.
  const oldToken = joinToken.replace(/[^.]*$/, Buffer.from(pin.slice("sha256:".length), "hex").toString("base64url"));
  for (const [name, remembered] of [
    ["by what it remembers", true],
    ["by its pin alone", false],
  ] as const) {
    const own = join(stateDir, name);
    mkdirSync(own);
    if (remembered) writeFileSync(join(own, "trust.json"), JSON.stringify({ rootsPem: oldPem, pins: [pin.slice("sha256:".length)] }));
    const token = remembered ? oldToken : await freshToken(control, pin);
    const source = await startIdentity({
      controlAddress: control.address,
      identity: orders,
      credential: async () => ({ joinToken: token }),
      pins: [],
      stateDir: own,
      clock: systemClock,
      random: Math.random,
      log: createMemoryLog().log,
      metrics: createTestMetrics(),
    });
    t.same(report(source).trustedRoots, [control.ca.trustBundle().issuingRoot], name);
    await source.close();
  }
});

async function freshToken(control: ThrowawayControl, pin: string): Promise<string> {
  const token = await control.ca.createJoinToken({ namespace: "shop", serviceAccount: "orders" });
  return token.replace(/[^.]*$/, Buffer.from(pin.slice("sha256:".length), "hex").toString("base64url"));
}

t.test("an issuer below a root whose key is elsewhere: chains that OpenSSL, peers and renewals believe", async (t) => {
  const settings = { trustDomain, nowMs: Date.now(), random: randomBytes };
  const root = makeOfflineRoot({ ...settings, ttlMs: 3650 * DAY_MS });
  const issuer = makeIssuer(root, { ...settings, ttlMs: 90 * DAY_MS });
  const folder = t.testdir({ "tls.crt": issuer.certificatePem, "tls.key": issuer.keyPem, "ca.crt": root.certificatePem, state: {} });
  const control = await startThrowawayControl({
    stateDir: join(folder, "state"),
    leafTtlMs: 10_000,
    given: { certificateFile: join(folder, "tls.crt"), keyFile: join(folder, "tls.key"), rootFile: join(folder, "ca.crt") },
  });
  t.teardown(() => control.close());
  const source = await join1(t, control, join(folder, "own"));
  const { certificateChainPem, privateKeyPem, leaf, messageCertificate, roots } = source.current();
  t.equal(report(source).issuedByRoot, rootIdOf(root.certificate));
  const verified = openssl(["verify", "-x509_strict", "-CAfile", "root.pem", "-untrusted", "chain.pem", "chain.pem"], {
    "root.pem": root.certificatePem,
    "chain.pem": certificateChainPem,
  });
  t.equal(verified.code, 0, verified.output);
  t.equal(checkMessageCertificate(messageCertificate, { trustDomain, roots, nowMs: Date.now() }).identity, orders);

  const { promise, resolve } = Promise.withResolvers<TLSSocket>();
  const server = createServer({ key: privateKeyPem, cert: certificateChainPem, ca: root.certificatePem, requestCert: true }, resolve);
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  t.teardown(() => server.close());
  const { port } = server.address() as { port: number };
  const own = { key: privateKeyPem, cert: certificateChainPem, ca: root.certificatePem };
  const socket = connect({ host: "127.0.0.1", port, ...own, checkServerIdentity: () => undefined });
  t.teardown(() => socket.destroy());
  await new Promise((done) => socket.once("secureConnect", done));
  const rules = { trustDomain, roots, nowMs: Date.now() };
  t.equal(verifyPeer(socket, { ...rules, usage: "server" }), orders);
  t.equal(verifyPeer(await promise, { ...rules, usage: "client" }), orders);
  t.throws(() => verifyPeer(socket, { ...rules, roots: [], usage: "server" }), { code: "untrusted" }, "a root that was removed since");

  const renewed = makeIssuer(root, { ...settings, ttlMs: 90 * DAY_MS });
  writeFileSync(join(folder, "tls.key"), renewed.keyPem); // half a change, as a reader may see it
  writeFileSync(join(folder, "tls.crt"), renewed.certificatePem);
  await until("the renewal is by the new issuer, proven by the leaf of the old one", WAIT_MS, () => {
    const now = source.current();
    return now.leaf !== leaf && now.certificateChainPem.includes(renewed.certificatePem.trim());
  });
  t.match(control.ca.health(), { status: "ok" });
});

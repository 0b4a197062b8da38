import { randomBytes } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { type AuthorityData, readAuthority } from "../../certs/authority-data.ts";
import { followAuthority } from "../../certs/authority-source.ts";
import { makeIssuer, makeOfflineRoot } from "../../certs/ceremony.ts";
import { placeOf, readGivenFiles } from "../../certs/given-authority.ts";
import { rootIdOf } from "../../core/x509/root-id.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { createMemoryLog, createTestMetrics } from "../support/throwaway-control.ts";

const DAY_MS = 86_400_000;
const LEAF_TTL_MS = 3_600_000;
const clock = createFakeClock();
const settings = { trustDomain: "cluster.local", nowMs: clock.nowMs(), random: randomBytes };
const root = makeOfflineRoot({ ...settings, ttlMs: 3650 * DAY_MS });
const issuer = makeIssuer(root, { ...settings, ttlMs: 90 * DAY_MS });
const otherRoot = makeOfflineRoot({ ...settings, ttlMs: 3650 * DAY_MS });
const otherIssuer = makeIssuer(otherRoot, { ...settings, ttlMs: 90 * DAY_MS });

/** A CA of files, as cert-manager's Secret is mounted. */
async function follow(t: Test) {
  const clock = createFakeClock();
  const folder = t.testdir();
  const given = { certificateFile: join(folder, "tls.crt"), keyFile: join(folder, "tls.key"), rootFile: join(folder, "ca.crt") };
  const write = (certificate: string, key: string, roots: string) => {
    writeFileSync(given.certificateFile, certificate);
    writeFileSync(given.keyFile, key);
    writeFileSync(given.rootFile, roots);
  };
  write(issuer.certificatePem, issuer.keyPem, root.certificatePem);
  const { log } = createMemoryLog();
  const metrics = createTestMetrics();
  const audited: { readonly event: string; readonly [field: string]: unknown }[] = [];
  const kept = await readGivenFiles(given);
  const source = followAuthority({
    place: { place: placeOf(given), kind: "files", load: () => readGivenFiles(given), pollMs: 1000 },
    first: { kept, state: readAuthority(kept.data, placeOf(given), settings) },
    trustDomain: "cluster.local",
    leafTtlMs: LEAF_TTL_MS,
    clock,
    log,
    metrics,
    audit: { record: (event, fields) => void audited.push({ ...fields, event }) },
  });
  t.teardown(() => source.close());
  let changes = 0;
  source.onChange(() => {
    changes += 1;
  });
  const metric = async (name: string) => new RegExp(`^${name}(?:\\{[^}]*\\})? (.*)$`, "m").exec(await metrics.registry.metrics())?.[1];
  return { clock, given, write, source, metric, audited, changes: () => changes };
}

t.test("a renewed issuer of the same root is taken without a restart", async (t) => {
  const { source, write, changes } = await follow(t);
  const renewed = makeIssuer(root, { ...settings, ttlMs: 90 * DAY_MS });
  write(renewed.certificatePem, renewed.keyPem, root.certificatePem);
  await source.look();
  t.equal(source.current().signer.certificate.fingerprint256, renewed.certificate.fingerprint256);
  t.equal(source.trouble(), null);
  t.equal(changes(), 1);
});

t.test("a bad one is refused, the old stays, and health says why and since when, until it is good again", async (t) => {
  const { source, write, clock, metric, changes, given } = await follow(t);
  const sinceMs = clock.nowMs();
  write(issuer.certificatePem, otherIssuer.keyPem, root.certificatePem);
  await source.look();
  t.match(source.trouble(), { sinceMs, message: /the key does not belong to the certificate/ });
  t.equal(source.current().signer.certificate.fingerprint256, issuer.certificate.fingerprint256);
  t.equal(await metric("remora_ca_reload_refused"), "1");
  clock.advance(5000);
  await source.look();
  rmSync(given.keyFile);
  await source.look();
  t.match(source.trouble(), { sinceMs, message: /cannot read the CA's file .*tls.key/ }, "unwell since it began");
  await source.look();
  t.equal(await metric("remora_ca_reloads_total"), "2", "the same trouble counts once");
  write(issuer.certificatePem, issuer.keyPem, root.certificatePem);
  await source.look();
  t.equal(source.trouble(), null);
  t.equal(await metric("remora_ca_reload_refused"), "0");
  t.equal(changes(), 0);
});

t.test("another root is taken only in three steps, each when it is safe", async (t) => {
  const { source, write, clock, audited } = await follow(t);
  const both = root.certificatePem + otherRoot.certificatePem;
  write(otherIssuer.certificatePem, otherIssuer.keyPem, otherRoot.certificatePem);
  await source.look();
  t.match(source.trouble()?.message, /is not among those that the mesh trusts now/);
  write(issuer.certificatePem, issuer.keyPem, both);
  await source.look();
  t.equal(source.trouble(), null);
  write(otherIssuer.certificatePem, otherIssuer.keyPem, both);
  await source.look();
  t.equal(source.current().signer.anchor.fingerprint256, otherRoot.certificate.fingerprint256);
  write(otherIssuer.certificatePem, otherIssuer.keyPem, otherRoot.certificatePem);
  await source.look();
  t.match(source.trouble()?.message, /leaves of .* may live until/);
  clock.advance(LEAF_TTL_MS + 1000);
  await source.look();
  await source.look();
  t.equal(source.trouble(), null);
  t.equal(source.current().roots.length, 1);
  const [first, second] = [rootIdOf(root.certificate), rootIdOf(otherRoot.certificate)];
  t.match(audited, [
    { event: "ca.change_refused", reason: /is not among those/ },
    { event: "ca.changed", signs: first, trusts: [first, second] },
    { event: "ca.changed", signs: second, trusts: [first, second] },
    { event: "ca.change_refused", reason: /may live until/ },
    { event: "ca.changed", signs: second, trusts: [second] },
  ]);
});

t.test("what cannot work is refused when it is loaded, and the message says which rule it breaks", async (t) => {
  const below = makeIssuer(issuer, { ...settings, ttlMs: DAY_MS });
  const expired = makeIssuer(root, { ...settings, nowMs: settings.nowMs - 10 * DAY_MS, ttlMs: DAY_MS });
  const early = makeIssuer(root, { ...settings, nowMs: settings.nowMs + DAY_MS, ttlMs: DAY_MS });
  const data = (pair: typeof issuer, roots: string | null, more = ""): AuthorityData => ({
    "tls.crt": pair.certificatePem + more,
    "tls.key": pair.keyPem,
    ...(roots === null ? {} : { "ca.crt": roots }),
  });
  const cases: readonly [string, AuthorityData, RegExp][] = [
    ["the key of another", { ...data(issuer, root.certificatePem), "tls.key": otherIssuer.keyPem }, /key does not belong/],
    ["of another root", data(issuer, otherRoot.certificatePem), /none of the roots given has signed/],
    ["without its root", data(issuer, null), /not self-signed; give its root/],
    ["expired", data(expired, root.certificatePem), /is expired, valid from .* to/],
    ["of tomorrow", data(early, root.certificatePem), /is not valid yet/],
    ["below an issuer that may have none", data(below, root.certificatePem, issuer.certificatePem), /path length .* allows 0 issuers/],
    ["a root that is not in the list", data(otherRoot, root.certificatePem), /self-signed, but none of the roots/],
    ["an issuer in the list of roots", data(issuer, issuer.certificatePem), /is not a self-signed CA/],
    ["a list of roots that is none", data(issuer, "hello"), /list of roots is not X.509/],
    ["a rotation that is none", { ...data(root, null), "rotation.json": "{}" }, /rotation.json is none/],
    [
      "a rotation without its other pair",
      { ...data(root, root.certificatePem), "rotation.json": '{"step":"issuing","sinceMs":1}' },
      /other pair/,
    ],
  ];
  for (const [name, given, why] of cases) {
    t.throws(() => readAuthority(given, "the files", settings), { name: "CertError", message: why }, name);
    t.throws(() => readAuthority(given, "the files", settings), { message: /the CA in the files/ }, `${name}: names the place`);
  }
  t.equal(
    readAuthority(data(issuer, root.certificatePem), "the files", settings).signer.notAfterMs,
    issuer.certificate.validToDate.getTime(),
  );
});

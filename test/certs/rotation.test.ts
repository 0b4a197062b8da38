import { randomBytes, X509Certificate } from "node:crypto";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { type AuthorityData, readAuthority, rootsForPeers } from "../../certs/authority-data.ts";
import { describeState } from "../../certs/authority-status.ts";
import { makeIssuer, makeOfflineRoot } from "../../certs/ceremony.ts";
import { createFileRootStore } from "../../certs/file-root-store.ts";
import { createSecretRootStore } from "../../certs/kubernetes.ts";
import { connectKubernetes } from "../../certs/kubernetes.ts";
import { loadOrCreateRoot, type RootStore } from "../../certs/root-store.ts";
import { addRoot, cancelAdded, crossSign, goBack, issueFromNext, type NextRoot, removeOld } from "../../certs/rotation.ts";
import { findObstacles, type GuardFacts, type LiveLeaf } from "../../certs/rotation-guard.ts";
import { toPem } from "../../core/x509/pem.ts";
import { openssl } from "../core/x509/openssl.ts";
import { startKubeApi } from "../support/kube-api.ts";

const DAY_MS = 86_400_000;
const trustDomain = "cluster.local";
const nowMs = Date.now();
const settings = { trustDomain, nowMs, random: randomBytes };
const context = { place: "here", trustDomain, nowMs };

function makeNext(data: AuthorityData): NextRoot {
  const made = makeOfflineRoot({ ...settings, ttlMs: 3650 * DAY_MS });
  const cross = crossSign(made.certificate, readAuthority(data, "here", settings).signer, settings);
  return { ...made, rootPem: made.certificatePem, crossPem: cross === null ? null : toPem(cross, "CERTIFICATE") };
}

async function rotateOnce(store: RootStore): Promise<void> {
  for (const step of [(data: AuthorityData) => addRoot(data, makeNext(data), context), issueStep, removeStep]) {
    const kept = await store.load();
    if (kept === null) throw new Error("no CA is kept");
    await store.replace(step(kept.data), kept.version);
  }
}

const issueStep = (data: AuthorityData) => issueFromNext(data, context);
const removeStep = (data: AuthorityData) => removeOld(data, context);

async function openFile(t: Test): Promise<{ readonly store: RootStore; readonly folder: string; readonly data: AuthorityData }> {
  const folder = t.testdir();
  const store = createFileRootStore(folder);
  const { kept } = await loadOrCreateRoot(store, settings);
  return { store, folder, data: kept.data };
}

t.test("the three steps, in a file: each can be read by who starts then, and an older version reads who signs", async (t) => {
  const { store, folder, data } = await openFile(t);
  const old = readAuthority(data, "here", settings).signer.anchor;
  const added = addRoot(data, makeNext(data), context);
  const first = await store.load();
  await store.replace(added, first?.version ?? "");
  const state = readAuthority((await store.load())?.data ?? {}, "here", settings);
  t.match(state, { step: "added", sinceMs: nowMs });
  t.equal(state.signer.anchor.fingerprint256, old.fingerprint256, "the old one signs");
  t.equal(state.roots.length, 2);
  const text = readFileSync(join(folder, "ca-root.pem"), "utf8");
  t.equal(new X509Certificate(text).fingerprint256, old.fingerprint256, "an older version takes the first certificate of the file");
  t.equal(statSync(join(folder, "ca-root.pem")).mode & 0o777, 0o600);
  t.same(readdirSync(folder), ["ca-root.pem"], "no drafts and no lock are left");

  const issuing = readAuthority(issueStep(added), "here", settings);
  t.equal(issuing.signer.anchor.fingerprint256, state.other?.fingerprint256);
  t.equal(issuing.other?.fingerprint256, old.fingerprint256);
  const removed = removeStep(issueStep(added));
  const after = readAuthority(removed, "here", settings);
  t.same([after.step, after.roots.length, after.other], ["steady", 1, null]);
  t.notMatch(JSON.stringify(removed), (data["tls.key"] ?? "?").slice(40, 80), "the old key is forgotten");
  t.same(
    rootsForPeers(after).map(({ fingerprint256 }) => fingerprint256),
    [after.bridges[0]?.fingerprint256, after.signer.anchor.fingerprint256, old.fingerprint256],
    "who knows the old root finds the new one by the bridge",
  );
});

t.test("after several rotations the bridges still lead from the root before, and no more than two are kept", async (t) => {
  const { store } = await openFile(t);
  const roots: X509Certificate[] = [];
  for (let round = 0; round < 3; round += 1) {
    roots.push(readAuthority((await store.load())?.data ?? {}, "here", settings).signer.anchor);
    await rotateOnce(store);
  }
  const state = readAuthority((await store.load())?.data ?? {}, "here", settings);
  t.equal(state.bridges.length, 2);
  const pem = (certificates: readonly X509Certificate[]) => certificates.map(({ raw }) => toPem(raw, "CERTIFICATE")).join("");
  for (const known of roots.slice(1)) {
    const { code, output } = openssl(["verify", "-CAfile", "known.pem", "-untrusted", "sent.pem", "root.pem"], {
      "known.pem": pem([known]),
      "sent.pem": pem(state.bridges),
      "root.pem": pem(state.bridges.slice(0, 1)),
    });
    t.equal(code, 0, output);
  }
});

t.test("steps follow one another; back and cancel undo them", async (t) => {
  const { data } = await openFile(t);
  const added = addRoot(data, makeNext(data), context);
  const issuing = issueStep(added);
  const follows = { code: "conflict", message: /follows from the step/ };
  t.throws(() => issueStep(data), follows);
  t.throws(() => removeStep(added), follows);
  t.throws(() => addRoot(issuing, makeNext(data), context), follows);
  t.throws(() => cancelAdded(issuing, context), follows);
  const back = goBack(issuing, context);
  t.match(readAuthority(back, "here", settings), { step: "added", hasGoneBack: true });
  t.equal(back["tls.key"], data["tls.key"]);
  const cancelled = cancelAdded(back, context);
  t.match(readAuthority(cancelled, "here", settings), { step: "steady", roots: { length: 1 }, bridges: [], other: null });
  const own = { certificatePem: data["tls.crt"] ?? "", keyPem: data["tls.key"] ?? "", rootPem: data["tls.crt"] ?? "", crossPem: null };
  t.throws(() => addRoot(data, own, context), { code: "conflict" }, "the same root again");
});

t.test("of two that change the same CA, one wins and the other is told", async (t) => {
  const api = await startKubeApi({});
  t.teardown(() => api.close());
  const secrets = createSecretRootStore(await connectKubernetes({ kubeconfig: api.kubeconfig({ token: "control" }) }), "remora-system");
  await loadOrCreateRoot(secrets, settings);
  for (const store of [(await openFile(t)).store, secrets]) {
    const [one, two] = [await store.load(), await store.load()];
    if (one === null || two === null) throw new Error("no CA is kept");
    const results = await Promise.allSettled(
      [one, two].map(({ data, version }) => store.replace(addRoot(data, makeNext(data), context), version)),
    );
    t.equal(results.filter(({ status }) => status === "fulfilled").length, 1, store.place);
    const lost = results.find((result) => result.status === "rejected");
    t.match(lost?.reason, { code: "conflict", message: /nothing was done/ });
  }
  await rotateThrough(t, secrets);
});

async function rotateThrough(t: Test, store: RootStore): Promise<void> {
  const kept = await store.load();
  if (kept === null) throw new Error("no CA is kept");
  await store.replace(issueStep(kept.data), kept.version);
  const next = await store.load();
  await store.replace(removeStep(next?.data ?? {}), next?.version ?? "");
  const last = await store.load();
  t.same(
    Object.keys(last?.data ?? {}).sort(),
    ["ca.crt", "cross.crt", "rotation.json", "tls.crt", "tls.key"],
    "what a step drops is gone from the Secret",
  );
}

t.test("a lock of a process that is gone does not count", async (t) => {
  const { store, folder } = await openFile(t);
  writeFileSync(join(folder, "ca-root.pem.lock"), "999999999");
  await rotateOnce(store);
  writeFileSync(join(folder, "ca-root.pem.lock"), String(process.pid));
  await t.rejects(rotateOnce(store), { code: "conflict", message: /being changed by process/ });
});

t.test("an issuer below a root that is elsewhere is rotated with what the ceremony made", async (t) => {
  const root = makeOfflineRoot({ ...settings, ttlMs: 3650 * DAY_MS });
  const issuer = makeIssuer(root, { ...settings, ttlMs: 365 * DAY_MS });
  const data: AuthorityData = { "tls.crt": issuer.certificatePem, "tls.key": issuer.keyPem, "ca.crt": root.certificatePem };
  const state = readAuthority(data, "here", settings);
  t.equal(crossSign(makeOfflineRoot({ ...settings, ttlMs: DAY_MS }).certificate, state.signer, settings), null, "an issuer signs no CA");
  const nextRoot = makeOfflineRoot({ ...settings, ttlMs: 3650 * DAY_MS });
  const next = makeIssuer(nextRoot, { ...settings, ttlMs: 365 * DAY_MS });
  const added = addRoot(data, { ...next, rootPem: nextRoot.certificatePem, crossPem: null }, context);
  const after = readAuthority(removeStep(issueStep(added)), "here", settings);
  t.equal(after.signer.anchor.fingerprint256, nextRoot.certificate.fingerprint256);
  t.same(
    after.signer.issuers.map(({ fingerprint256 }) => fingerprint256),
    [next.certificate.fingerprint256],
  );
});

t.test("what stands in the way of a step", async (t) => {
  const { data } = await openFile(t);
  const added = addRoot(data, makeNext(data), context);
  const facts = (of: AuthorityData, leaves: readonly Partial<LiveLeaf>[], changes: Partial<GuardFacts> = {}): GuardFacts => {
    const kept = describeState(readAuthority(of, "here", settings), "here", trustDomain);
    const status = { ...kept, leafTtlMs: 10_000, signsSinceMs: nowMs - 60_000 };
    return {
      kept,
      replicas: [{ name: "one", problem: null, status }],
      nowMs,
      leaves: leaves.map((leaf) => ({ ...LEAF, ...leaf })),
      ...changes,
    };
  };
  const kept = describeState(readAuthority(added, "here", settings), "here", trustDomain);
  const idOf = (role: string) => kept.roots.find((root) => root.role === role)?.id ?? "";
  const [old, next] = [idOf("signs"), idOf("next")];
  const codes = (action: Parameters<typeof findObstacles>[0], given: GuardFacts) => findObstacles(action, given).map(({ code }) => code);
  const ready = { issuedByRoot: next, trustedRoots: [old, next] };
  const issuing = issueStep(added);

  t.same(codes("add", facts(data, [{}])), []);
  t.same(codes("issue", facts(added, [{ issuedByRoot: old, trustedRoots: [old, next] }])), []);
  t.same(codes("issue", facts(added, [{ issuedByRoot: old, trustedRoots: [old] }])), ["does_not_trust"]);
  t.same(codes("issue", facts(added, [{}])), ["not_proven"], "an older sidecar");
  t.same(codes("issue", facts(added, [{ certExpiresAtMs: 0 }])), [], "one that announces over REST has no certificate");
  t.same(codes("issue", facts(added, [], { replicas: [] })), ["nobody_answers"]);
  const { replicas } = facts(data, []);
  t.same(codes("issue", facts(added, [], { replicas })), ["replica_behind"]);
  const silent = [...facts(added, []).replicas, { name: "two", status: null, problem: "no answer" }];
  t.same(codes("issue", facts(added, [], { replicas: silent })), ["replica_silent"]);
  t.same(codes("remove", facts(issuing, [ready])), []);
  t.same(codes("remove", facts(issuing, [ready, { issuedByRoot: old, trustedRoots: [old, next] }])), ["still_chains"]);
  t.same(codes("remove", facts(issuing, [{ issuedByRoot: "", trustedRoots: [old, next] }])), ["still_chains"]);
  t.same(codes("remove", facts(issuing, [{}])), ["not_proven"]);
  t.same(codes("remove", facts(issuing, [ready], { nowMs: nowMs - 55_000 })), ["may_be_asleep"]);
  t.same(codes("back", facts(issuing, [{ issuedByRoot: next, trustedRoots: [next] }])), ["does_not_trust"]);
  t.same(codes("cancel", facts(added, [{ issuedByRoot: old, trustedRoots: [old, next] }], { nowMs: nowMs - 55_000 })), []);
  const [obstacle] = findObstacles(
    "issue",
    facts(
      added,
      Array.from({ length: 7 }, () => ({ trustedRoots: [old] })),
    ),
  );
  t.match(obstacle?.message, /7 live workloads do not trust root .*shop\/orders \(uid-1\).*and 2 more/);
});

const LEAF: LiveLeaf = {
  instanceId: "uid-1",
  identity: "spiffe://cluster.local/ns/shop/sa/orders",
  version: "1",
  certExpiresAtMs: nowMs + 1000,
  issuedByRoot: "",
  trustedRoots: [],
};

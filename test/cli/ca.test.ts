import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { parse } from "yaml";
import { type AuthorityData, readAuthority } from "../../certs/authority-data.ts";
import { openssl } from "../core/x509/openssl.ts";
import { ranRemora, startedControl, temporaryFolder } from "./remora.ts";

t.setTimeout(300_000);
const rules = { trustDomain: "cluster.local", nowMs: Date.now() };

t.test("ca init makes a root and an issuer for the owner's eyes only, and overwrites nothing", async (t) => {
  const folder = join(temporaryFolder(t), "keys");
  const made = await ranRemora(t, ["ca", "init", "--out", folder, "--secret"]);
  t.equal(made.code, 0, made.text);
  t.same(readdirSync(folder).sort(), ["issuer.crt", "issuer.key", "root.crt", "root.key"]);
  for (const name of readdirSync(folder)) t.equal(statSync(join(folder, name)).mode & 0o777, 0o600, name);
  const text = (name: string) => readFileSync(join(folder, name), "utf8");
  const verified = openssl(["verify", "-x509_strict", "-CAfile", "root.crt", "issuer.crt"], {
    "root.crt": text("root.crt"),
    "issuer.crt": text("issuer.crt"),
  });
  t.equal(verified.code, 0, verified.output);
  const secret = parse(made.text.slice(made.text.indexOf("apiVersion"))) as { readonly stringData: AuthorityData };
  t.equal(readAuthority(secret.stringData, "the Secret", rules).signer.issuers.length, 1);
  t.notMatch(made.text, text("root.key").split("\n")[1], "the root's key stays where it is");

  const before = readdirSync(folder).map(text);
  const again = await ranRemora(t, ["ca", "init", "--out", folder]);
  t.equal(again.code, 1);
  t.match(again.text, /root.crt is there already, and nothing is overwritten/);
  t.same(readdirSync(folder).map(text), before);

  const half = temporaryFolder(t);
  writeFileSync(join(half, "issuer.key"), "mine");
  t.equal((await ranRemora(t, ["ca", "init", "--out", half])).code, 1);
  t.same(readdirSync(half), ["issuer.key"], "all or none");
});

t.test("ca status and rotate on a laptop: plan, refusals, and a root of a ceremony", async (t) => {
  const { stateDir } = await startedControl(t);
  const ca = (...words: string[]) => ranRemora(t, ["ca", ...words, "--state-dir", stateDir]);
  const status = JSON.parse((await ca("status", "-o", "json")).text) as { step: string; roots: { role: string }[]; replicas: object[] };
  t.match(status, { step: "steady", roots: [{ role: "signs", leaves: 0, key: "P-256" }], replicas: [{ problem: null }], leaves: 0 });
  const plan = await ca("rotate", "--plan");
  t.match(plan.text, /-> 1. remora ca rotate add/);
  t.match(plan.text, /"add" can be taken now/);
  t.equal((await ca("rotate")).code, 1, "which step?");
  t.equal((await ca("rotate", "onward")).code, 2, "no such step");

  // A ceremony: the old root signs the next one, and an issuer below it signs leaves.
  const [oldRoot, next] = [temporaryFolder(t), join(temporaryFolder(t), "next")];
  mkdirSync(oldRoot, { recursive: true });
  const kept = readFileSync(join(stateDir, "ca-root.pem"), "utf8");
  const keyAt = kept.indexOf("-----BEGIN PRIVATE KEY");
  writeFileSync(join(oldRoot, "root.crt"), kept.slice(0, keyAt));
  writeFileSync(join(oldRoot, "root.key"), kept.slice(keyAt));
  const made = await ranRemora(t, ["ca", "init", "--out", next, "--old-root", oldRoot]);
  t.equal(made.code, 0, made.text);
  t.equal((await ca("rotate", "add", "--from", next)).code, 0);
  const issued = await ca("rotate", "issue", "--wait", "30s");
  t.equal(issued.code, 0, issued.text);
  t.equal((await ca("rotate", "remove")).code, 3, "who is not heard of may have a leaf of the old root");
  const forced = await ca("rotate", "remove", "--cut-off-workloads");
  t.equal(forced.code, 0);
  t.match(forced.text, /done ALTHOUGH/);
  const last = await ca("status");
  t.match(last.text, /rotation: steady/);
  t.match(last.text, /^ISSUER/m);
});

import { spawn } from "node:child_process";
import type { KeyObject } from "node:crypto";
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Test } from "tap";
import t from "tap";
import { createFileRootStore, readPublicRoots, writePublicRoots } from "../../certs/file-root-store.ts";
import { readAuthority } from "../../certs/authority-data.ts";
import { placeOf, readGivenFiles } from "../../certs/given-authority.ts";
import { loadOrCreateRoot } from "../../certs/root-store.ts";
import { createCertificate, selfIssuer } from "../../core/x509/certificate.ts";
import { toPem } from "../../core/x509/pem.ts";
import { createThrowawayCa } from "../support/throwaway-ca.ts";

const DAY_MS = 86_400_000;
const settings = { trustDomain: "cluster.local", nowMs: Date.now(), random: randomBytes };
const racer = fileURLToPath(new URL("./root-racer.ts", import.meta.url));

t.test("the first start makes a root of ten years, for the owner's eyes only; later starts find it", async (t) => {
  const folder = join(t.testdir(), "state");
  const first = await loadOrCreateRoot(createFileRootStore(folder), settings);
  const second = await loadOrCreateRoot(createFileRootStore(folder), settings);
  t.ok(first.created);
  t.notOk(second.created);
  t.equal(second.state.signer.certificate.fingerprint256, first.state.signer.certificate.fingerprint256);
  t.equal(Math.round((first.state.signer.certificate.validToDate.getTime() - settings.nowMs) / DAY_MS), 3650);
  t.equal(statSync(join(folder, "ca-root.pem")).mode & 0o777, 0o600);
  t.equal(statSync(folder).mode & 0o777, 0o700);
  t.same(readdirSync(folder), ["ca-root.pem"], "no drafts are left");
});

t.test("starts that race in one process agree on one root", async (t) => {
  const folder = t.testdir();
  const all = await Promise.all(Array.from({ length: 20 }, () => loadOrCreateRoot(createFileRootStore(folder), settings)));
  t.equal(new Set(all.map(({ state }) => state.signer.certificate.fingerprint256)).size, 1);
  t.equal(all.filter(({ created }) => created).length, 1);
  t.same(readdirSync(folder), ["ca-root.pem"]);
});

t.test("processes that race agree on one root", async (t) => {
  const folder = t.testdir();
  const prints = await Promise.all(Array.from({ length: 4 }, () => run(t, [racer, folder])));
  t.match(prints[0], /^[0-9A-F:]{95}$/);
  t.equal(new Set(prints).size, 1);
});

t.test("a root given by files is used as it is", async (t) => {
  const ca = createThrowawayCa();
  const folder = t.testdir({ "ca.crt": ca.rootPem, "ca.key": ca.rootKeyPem });
  const root = await readGivenRoot({ certificateFile: join(folder, "ca.crt"), keyFile: join(folder, "ca.key"), nowMs: settings.nowMs });
  t.equal(root.certificate.fingerprint256, ca.root.fingerprint256);
});

t.test("a root that cannot work is refused at start, naming the files and the rule", async (t) => {
  const ca = createThrowawayCa();
  const other = createThrowawayCa();
  const leaf = ca.leaf("shop/orders");
  const old = createThrowawayCa({ nowMs: settings.nowMs - 4000 * DAY_MS });
  const signing = makeRootLike(ca.rootKey, { keyUsage: ["digitalSignature"] });
  const intermediate = toPem(
    createCertificate({
      publicKey: other.rootKey,
      issuer: ca.issuer,
      notBeforeMs: settings.nowMs - 1000,
      notAfterMs: settings.nowMs + DAY_MS,
      commonName: "intermediate",
      names: {},
      isCa: true,
      keyUsage: ["keyCertSign"],
      extendedKeyUsage: [],
    }),
    "CERTIFICATE",
  );
  const cases: readonly [string, string, string, RegExp][] = [
    ["the key of another", ca.rootPem, other.rootKeyPem, /the key does not belong to the certificate/],
    ["a leaf", leaf.certPem, leaf.keyPem, /is not a CA/],
    ["expired", old.rootPem, old.rootKeyPem, /valid from .* to /],
    ["an intermediate", intermediate, other.rootKeyPem, /not self-signed/],
    ["no keyCertSign", signing, ca.rootKeyPem, /keyCertSign/],
    ["no certificate", "hello", ca.rootKeyPem, /not X.509 in PEM/],
    ["no key", ca.rootPem, "hello", /not a private key in PEM/],
    ["swapped", ca.rootKeyPem, ca.rootPem, /not X.509 in PEM/],
  ];
  for (const [name, certificate, key, why] of cases) {
    const folder = t.testdir({ "ca.crt": certificate, "ca.key": key });
    const files = { certificateFile: join(folder, "ca.crt"), keyFile: join(folder, "ca.key"), nowMs: settings.nowMs };
    const failure = await readGivenRoot(files).catch((error: unknown) => error as Error);
    t.match((failure as Error).message, why, name);
    t.match((failure as Error).message, files.certificateFile, `${name}: names the file`);
  }
  await t.rejects(readGivenRoot({ certificateFile: "/nowhere/ca.crt", keyFile: "/nowhere/ca.key", nowMs: 0 }), {
    message: /\/nowhere\/ca.crt/,
  });
});

t.test("a damaged root file is an error, never a reason to make a new root", async (t) => {
  const folder = t.testdir({ "ca-root.pem": "half a file" });
  await t.rejects(loadOrCreateRoot(createFileRootStore(folder), settings), { name: "CertError", message: /ca-root.pem/ });
  t.equal(readFileSync(join(folder, "ca-root.pem"), "utf8"), "half a file");
});

t.test("a state folder that cannot be written is named", async (t) => {
  const folder = join(t.testdir({ file: "" }), "file", "state");
  await t.rejects(loadOrCreateRoot(createFileRootStore(folder), settings), {
    name: "CertError",
    code: "unavailable",
    message: new RegExp(folder),
  });
});

t.test("the public roots are there for those who have no key", async (t) => {
  const ca = createThrowawayCa();
  const folder = t.testdir();
  await t.rejects(readPublicRoots(folder), { code: "unavailable", message: /start the control plane first/ });
  await writePublicRoots(folder, ca.rootPem);
  t.same(await readPublicRoots(folder), [ca.root.raw]);
  writeFileSync(join(folder, "ca.crt"), "");
  await t.rejects(readPublicRoots(folder), { code: "unavailable" });
});

async function readGivenRoot({ nowMs, ...files }: { readonly certificateFile: string; readonly keyFile: string; readonly nowMs: number }) {
  const given = { ...files, rootFile: null };
  return readAuthority((await readGivenFiles(given)).data, placeOf(given), { trustDomain: settings.trustDomain, nowMs }).signer;
}

function makeRootLike(key: KeyObject, options: { readonly keyUsage: readonly "digitalSignature"[] }): string {
  const der = createCertificate({
    publicKey: key,
    issuer: selfIssuer(key, "root"),
    notBeforeMs: settings.nowMs - 1000,
    notAfterMs: settings.nowMs + DAY_MS,
    commonName: "root",
    names: {},
    isCa: true,
    keyUsage: options.keyUsage,
    extendedKeyUsage: [],
  });
  return toPem(der, "CERTIFICATE");
}

function run(t: Test, args: readonly string[]): Promise<string> {
  const child = spawn(process.execPath, [...args], { stdio: ["ignore", "pipe", "inherit"] });
  t.teardown(() => child.kill("SIGKILL"));
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => {
    output += chunk.toString();
  });
  return new Promise((resolve) => child.once("close", () => resolve(output.trim())));
}

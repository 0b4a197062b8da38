// `remora ca init`: makes the keys in memory, checks them as a control plane would, and writes all of them or none over nothing.
import { randomBytes } from "node:crypto";
import { mkdir, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { stringify } from "yaml";
import { makeIssuer, makeOfflineRoot, type MadePair } from "../../certs/ceremony.ts";
import { checkRoot, readRoots } from "../../certs/root.ts";
import { crossSign } from "../../certs/rotation.ts";
import { ConfigError } from "../../core/errors.ts";
import { toPem } from "../../core/x509/pem.ts";
import type { InitFlags } from "../ca-command.ts";
import { CEREMONY_FILES, read } from "./folder.ts";

/** For the owner's eyes only, certificates too: who copies the folder copies its modes. */
const MODE = 0o600;

/** Makes and writes them. @throws ConfigError when a file is there already, CertError when a root that was given cannot be used */
export async function init(flags: InitFlags): Promise<number> {
  const { out, trustDomain } = flags;
  const common = { trustDomain, nowMs: Date.now(), random: randomBytes };
  const root =
    flags.rootFrom === undefined ? makeOfflineRoot({ ...common, ttlMs: flags.rootTtl }) : await readPair(flags.rootFrom, trustDomain);
  const issuer = flags.issuer ? makeIssuer(root, { ...common, ttlMs: flags.issuerTtl }) : null;
  const files: [string, string][] = [[CEREMONY_FILES.root, root.certificatePem]];
  if (flags.rootFrom === undefined) files.push([CEREMONY_FILES.rootKey, root.keyPem]);
  if (issuer !== null) files.push([CEREMONY_FILES.issuer, issuer.certificatePem], [CEREMONY_FILES.issuerKey, issuer.keyPem]);
  if (flags.oldRoot !== undefined) files.push([CEREMONY_FILES.cross, await crossBy(flags.oldRoot, root, flags)]);
  const signer = issuer ?? root;
  checkRoot(signer, out, { trustDomain, nowMs: Date.now(), roots: readRoots(root.certificatePem, out) });
  await writeAll(out, files);
  process.stderr.write(`${files.map(([name]) => join(out, name)).join("\n")}\n`);
  if (flags.secret === true) process.stdout.write(secretOf(signer, root, flags));
  return 0;
}

async function readPair(folder: string, trustDomain: string): Promise<MadePair> {
  const [certificatePem, keyPem] = [await read(join(folder, CEREMONY_FILES.root)), await read(join(folder, CEREMONY_FILES.rootKey))];
  const { certificate, issuer } = checkRoot({ certificatePem, keyPem }, folder, { trustDomain, nowMs: Date.now(), roots: null });
  return { certificate, certificatePem, keyPem, key: issuer.key };
}

async function crossBy(folder: string, root: MadePair, { trustDomain }: InitFlags): Promise<string> {
  const old = await readPair(folder, trustDomain);
  const rules = { trustDomain, nowMs: Date.now(), roots: null };
  const signed = crossSign(root.certificate, checkRoot(old, folder, rules), { nowMs: rules.nowMs, random: randomBytes });
  if (signed === null) throw new ConfigError("invalid_value", `${folder} holds an issuer, which may sign no other CA`);
  return toPem(signed, "CERTIFICATE");
}

/** All or none: what is there already is somebody's key. */
async function writeAll(folder: string, files: readonly (readonly [string, string])[]): Promise<void> {
  const made: string[] = [];
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    for (const [name, text] of files) {
      const file = join(folder, name);
      const handle = await open(file, "wx", MODE);
      made.push(file);
      await handle.writeFile(text);
      await handle.sync();
      await handle.close();
    }
  } catch (cause) {
    for (const file of made) await rm(file, { force: true });
    const exists = (cause as NodeJS.ErrnoException).code === "EEXIST";
    throw new ConfigError(
      "invalid_value",
      exists ? `${(cause as NodeJS.ErrnoException).path ?? folder} is there already, and nothing is overwritten` : (cause as Error).message,
      { cause },
    );
  }
}

/** The Secret that a control plane in Kubernetes reads, in cert-manager's form. */
function secretOf(signer: MadePair, root: MadePair, { controlNamespace }: InitFlags): string {
  return stringify({
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: "remora-ca", namespace: controlNamespace, labels: { "app.kubernetes.io/part-of": "remora" } },
    type: "kubernetes.io/tls",
    stringData: { "tls.crt": signer.certificatePem, "tls.key": signer.keyPem, "ca.crt": root.certificatePem },
  });
}

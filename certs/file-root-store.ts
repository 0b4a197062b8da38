// The root on a laptop or VM: one file with certificate and key under the state folder, mode 0600. Certificate and key share the file, so
// that no reader can see one without the other; `link` refuses to replace, so that of racing processes exactly one wins.
import { randomUUID } from "node:crypto";
import { link, mkdir, open, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CertError } from "../core/errors.ts";
import { fromPemBundle } from "../core/x509/pem.ts";
import type { RootMaterial, RootStore } from "./root.ts";

/** Certificate and key, for the CA alone. */
const ROOT_FILE = "ca-root.pem";
/** The roots without any key, for `remora token`, and for people and their `openssl verify`. */
const PUBLIC_FILE = "ca.crt";
const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----\n?/;
const KEY = /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----\n?/;

/** Keeps the root in `folder`, which is made (0700) when missing. */
export function createFileRootStore(folder: string): RootStore {
  const file = join(folder, ROOT_FILE);

  async function load(): Promise<RootMaterial | null> {
    let text: string;
    try {
      text = await readFile(file, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
      throw new CertError("unavailable", `cannot read ${file}: ${(error as Error).message}`, { cause: error });
    }
    return { certificatePem: CERTIFICATE.exec(text)?.[0] ?? "", keyPem: KEY.exec(text)?.[0] ?? "" };
  }

  async function create(material: RootMaterial): Promise<RootMaterial> {
    const draft = `${file}.${randomUUID()}`;
    try {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      await writeDurably(draft, `${material.certificatePem}${material.keyPem}`);
      await link(draft, file).catch(ignoreExisting);
    } catch (error) {
      throw new CertError("unavailable", `cannot keep the CA's root in ${folder}: ${(error as Error).message}`, { cause: error });
    } finally {
      await rm(draft, { force: true });
    }
    const kept = await load();
    if (kept === null) throw new CertError("unavailable", `${file} vanished while it was made`);
    return kept;
  }

  return { place: file, load, create };
}

/** Writes the roots beside the state, wherever the CA's key comes from. */
export async function writePublicRoots(folder: string, rootsPem: string): Promise<void> {
  const draft = join(folder, `${PUBLIC_FILE}.${randomUUID()}`);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeFile(draft, rootsPem, { mode: 0o644 });
  await rename(draft, join(folder, PUBLIC_FILE));
}

/** What {@link writePublicRoots} wrote, DER; throws `CertError("unavailable")` when no control plane has run with `folder` yet. */
export async function readPublicRoots(folder: string): Promise<Buffer[]> {
  const file = join(folder, PUBLIC_FILE);
  try {
    return fromPemBundle(await readFile(file, "utf8"));
  } catch (cause) {
    throw new CertError("unavailable", `no mesh in ${folder} (${file} cannot be read): start the control plane first`, { cause });
  }
}

async function writeDurably(file: string, text: string): Promise<void> {
  const handle = await open(file, "wx", 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function ignoreExisting(error: NodeJS.ErrnoException): void {
  if (error.code !== "EEXIST") throw error;
}

// Where the webhook's certificate is kept between restarts and shared between replicas: one object that is replaced as a whole, and only by who saw
// its latest version. In Kubernetes a Secret, elsewhere a file.
import { createHash, randomUUID } from "node:crypto";
import { link, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { WebhookMaterial } from "./webhook-certificate.ts";

/** What a store holds. */
export interface StoredMaterial {
  readonly material: WebhookMaterial;
  /** Opaque; changes with every replacement. */
  readonly version: string;
}

/** One place with optimistic locking. */
export interface CertificateStore {
  /** For messages, e.g. "Secret remora-system/remora-injector-tls". */
  readonly place: string;
  /** Null when there is nothing yet. */
  load(): Promise<StoredMaterial | null>;
  /** Stores `material` if the place still holds `version` (null: nothing). False when somebody else was first. */
  save(material: WebhookMaterial, version: string | null): Promise<boolean>;
}

const FILE = "webhook-certificate.json";

/** A file in `folder` that only its owner reads. Safe against a crash in the middle of writing. */
export function createFileStore(folder: string): CertificateStore {
  const path = join(folder, FILE);

  async function load(): Promise<StoredMaterial | null> {
    const text = await readFile(path, "utf8").catch((error: unknown) => {
      if ((error as { readonly code?: unknown }).code === "ENOENT") return null;
      throw error;
    });
    return text === null ? null : { material: parseMaterial(text), version: createHash("sha256").update(text).digest("hex") };
  }

  async function save(material: WebhookMaterial, version: string | null): Promise<boolean> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const fresh = `${path}.${randomUUID()}`;
    await writeFile(fresh, JSON.stringify(material), { mode: 0o600, flag: "wx" });
    try {
      if (version === null) return await placeNew(fresh, path);
      if ((await load())?.version !== version) return false;
      await rename(fresh, path);
      return true;
    } finally {
      await rm(fresh, { force: true });
    }
  }

  return { place: path, load, save };
}

/** A hard link is made only where no file is. */
async function placeNew(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if ((error as { readonly code?: unknown }).code === "EEXIST") return false;
    throw error;
  }
}

/** Anything unreadable becomes material that is not usable, and so is replaced. */
function parseMaterial(text: string): WebhookMaterial {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = null;
  }
  const fields = typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
  const read = (name: keyof WebhookMaterial) => (typeof fields[name] === "string" ? fields[name] : "");
  return { certificatePem: read("certificatePem"), privateKeyPem: read("privateKeyPem"), caBundlePem: read("caBundlePem") };
}

// A CA that others keep: files written by a person, by cert-manager or a mounted Secret (REMORA_CA_CERT_FILE, REMORA_CA_KEY_FILE, REMORA_CA_ROOT_FILE). They are
// read again and again and never written.
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { CertError } from "../core/errors.ts";
import type { AuthorityData } from "./authority-data.ts";
import type { Kept } from "./root-store.ts";

/** Where the CA is. */
export interface GivenFiles {
  /** What signs, then the issuers between it and its root. */
  readonly certificateFile: string;
  readonly keyFile: string;
  /** The roots that the mesh trusts; null: `certificateFile` is the one. */
  readonly rootFile: string | null;
}

/** For messages. */
export function placeOf({ certificateFile, keyFile, rootFile }: GivenFiles): string {
  return `${certificateFile} and ${keyFile}${rootFile === null ? "" : ` below ${rootFile}`}`;
}

/** Reads the files; throws `CertError("unavailable")` that names the one that cannot be read. */
export async function readGivenFiles({ certificateFile, keyFile, rootFile }: GivenFiles): Promise<Kept> {
  const data: AuthorityData = {
    "tls.crt": await readGiven(certificateFile),
    "tls.key": await readGiven(keyFile),
    ...(rootFile === null ? {} : { "ca.crt": await readGiven(rootFile) }),
  };
  return { data, version: createHash("sha256").update(JSON.stringify(data)).digest("hex") };
}

async function readGiven(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    throw new CertError("unavailable", `cannot read the CA's file ${file}: ${(cause as Error).message}`, { cause });
  }
}

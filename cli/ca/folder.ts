// The files of a key ceremony, as `remora ca init` writes them and `remora ca rotate add --from` reads them.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { NextRoot } from "../../certs/rotation.ts";
import { ConfigError } from "../../core/errors.ts";

/** Names in the folder. */
export const CEREMONY_FILES = {
  root: "root.crt",
  rootKey: "root.key",
  issuer: "issuer.crt",
  issuerKey: "issuer.key",
  cross: "cross.crt",
} as const;

/** The CA of a folder: its issuer, or where there is none its root. @throws ConfigError naming the file that cannot be read */
export async function readFolder(folder: string): Promise<NextRoot> {
  const rootPem = await read(join(folder, CEREMONY_FILES.root));
  const issuerPem = await readMaybe(join(folder, CEREMONY_FILES.issuer));
  const keyFile = issuerPem === null ? CEREMONY_FILES.rootKey : CEREMONY_FILES.issuerKey;
  return {
    rootPem,
    certificatePem: issuerPem ?? rootPem,
    keyPem: await read(join(folder, keyFile)),
    crossPem: await readMaybe(join(folder, CEREMONY_FILES.cross)),
  };
}

/** A file that has to be there. @throws ConfigError naming it */
export async function read(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    throw new ConfigError("invalid_value", `cannot read ${file}: ${(cause as Error).message}`, { cause });
  }
}

async function readMaybe(file: string): Promise<string | null> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw new ConfigError("invalid_value", `cannot read ${file}: ${(error as Error).message}`, { cause: error });
  }
}

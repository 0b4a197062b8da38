// Certificates for the contenders that are not Remora: one authority, one leaf for both ends, as PEM files.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createThrowawayCa } from "../../test/support/throwaway-ca.ts";

/** Paths. */
export interface TlsFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** Name in the leaf. */
export const TLS_NAME = "hop.bench";

/** Writes the three files into `folder`. */
export async function writeTlsFiles(folder: string): Promise<TlsFiles> {
  const ca = createThrowawayCa();
  const leaf = ca.leaf("bench/hop", { dnsNames: [TLS_NAME], commonName: TLS_NAME });
  const files = { ca: join(folder, "ca.pem"), cert: join(folder, "cert.pem"), key: join(folder, "key.pem") };
  await writeFile(files.ca, ca.rootPem);
  await writeFile(files.cert, leaf.certPem);
  await writeFile(files.key, leaf.keyPem, { mode: 0o600 });
  return files;
}

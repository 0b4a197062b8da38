// A short name for a root in heartbeats, status and messages: the first 64 bits of the SHA-256 of its certificate. It tells a handful of roots apart and proves
// nothing; what proves is the certificate.
import { createHash } from "node:crypto";
import type { X509Certificate } from "node:crypto";

/** Bytes of an id. */
export const ROOT_ID_BYTES = 8;

/** 16 hex digits. The first ones of the root's pin. */
export function rootIdOf(root: X509Certificate): string {
  return createHash("sha256")
    .update(root.raw)
    .digest("hex")
    .slice(0, 2 * ROOT_ID_BYTES);
}

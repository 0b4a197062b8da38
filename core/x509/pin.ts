// Pins: the SHA-256 of a root certificate's DER, by which a workload that trusts nothing yet recognises its mesh. Written as
// `sha256:<64 hex>` (settings, ConfigMap) or as 43 characters of base64url (inside join tokens).
import { createHash } from "node:crypto";
import { CertError } from "../errors.ts";

const HEX = /^sha256:([0-9a-f]{64})$/i;
const BASE64URL = /^[A-Za-z0-9_-]{43}$/;

/** `sha256:<hex>` of a root in DER. */
export function formatPin(rootDer: Buffer): string {
  return `sha256:${createHash("sha256").update(rootDer).digest("hex")}`;
}

/** The short form: 43 characters of base64url. */
export function formatShortPin(rootDer: Buffer): string {
  return createHash("sha256").update(rootDer).digest("base64url");
}

/** The 32 bytes of either form; throws `CertError("malformed")` naming the value. */
export function parsePin(text: string): Buffer {
  const hex = HEX.exec(text)?.[1];
  if (hex !== undefined) return Buffer.from(hex, "hex");
  if (BASE64URL.test(text)) return Buffer.from(text, "base64url");
  throw new CertError("malformed", `not a trust pin (sha256:<64 hex digits>): ${text.slice(0, 100)}`);
}

/** True when `rootDer` is the certificate that one of `pins` (of {@link parsePin}) names. */
export function matchesPin(rootDer: Buffer, pins: readonly Buffer[]): boolean {
  const digest = createHash("sha256").update(rootDer).digest();
  return pins.some((pin) => pin.equals(digest));
}

// PEM (RFC 7468) in and out. Knows nothing of what is inside.
import { CertError } from "../errors.ts";

const LINE = 64;
const CERTIFICATE = /-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)\s*-----END CERTIFICATE-----/g;

/** One PEM block. `label` is e.g. "CERTIFICATE". */
export function toPem(der: Buffer, label: string): string {
  const lines = der.toString("base64").match(new RegExp(`.{1,${LINE}}`, "g")) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

/** DER of every certificate in `text`, in order; throws `CertError("malformed")` when there is none. Text between blocks is skipped. */
export function fromPemBundle(text: string): Buffer[] {
  const found = [...text.matchAll(CERTIFICATE)].map((match) => Buffer.from(match[1] ?? "", "base64"));
  if (found.length === 0) throw new CertError("malformed", "no PEM certificate in the text");
  return found;
}

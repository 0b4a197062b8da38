// Picks the fields of the signature profile out of a head, each at most once. A second one is refused, not joined or overridden: two readers must never
// choose differently.
//
// HOT PATH: one pass; a switch on the name's length decides for nearly every field. Names may come in any case.

/** The fields; null where there is none. */
export interface SignedFields {
  contentType: string | null;
  contentDigest: string | null;
  signatureInput: string | null;
  signature: string | null;
  src: string | null;
  dst: string | null;
  body: string | null;
  binding: string | null;
  certificate: string | null;
}

/** Collects from a flat raw list; null when one is there twice. */
export function collectSignedFields(raw: readonly string[]): SignedFields | null {
  const fields: SignedFields = {
    contentType: null,
    contentDigest: null,
    signatureInput: null,
    signature: null,
    src: null,
    dst: null,
    body: null,
    binding: null,
    certificate: null,
  };
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const key = keyOf(raw[index] as string);
    if (key === null) continue;
    if (fields[key] !== null) return null;
    fields[key] = raw[index + 1] as string;
  }
  return fields;
}

function keyOf(name: string): keyof SignedFields | null {
  switch (name.length) {
    case 9:
      return same(name, "signature") ? "signature" : null;
    case 11:
      return same(name, "x-remora-cb") ? "binding" : null;
    case 12:
      if (same(name, "content-type")) return "contentType";
      if (same(name, "x-remora-src")) return "src";
      return same(name, "x-remora-dst") ? "dst" : null;
    case 13:
      if (same(name, "x-remora-body")) return "body";
      return same(name, "x-remora-cert") ? "certificate" : null;
    case 14:
      return same(name, "content-digest") ? "contentDigest" : null;
    case 15:
      return same(name, "signature-input") ? "signatureInput" : null;
    default:
      return null;
  }
}

function same(name: string, lower: string): boolean {
  return name === lower || name.toLowerCase() === lower;
}

// Picks the fields of the signature profile out of a head, each at most once. A second one is refused, not joined or overridden: two readers must never
// choose differently.
//
// HOT PATH: one pass over the kinds; names are looked at where the kind says that it may be one of them. Names may come in any case.
import { FIELD } from "../../core/field-kind.ts";
import { sameName } from "../../core/field-name.ts";
import type { FieldView } from "../fields.ts";

const LOOKED_AT = FIELD.mesh | FIELD.signature | FIELD.contentType;

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

/** Collects from the fields as received; null when one is there twice. */
export function collectSignedFields(view: FieldView): SignedFields | null {
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
  for (let index = 0; index < view.count; index += 1) {
    if ((view.kind(index) & LOOKED_AT) === 0) continue;
    const key = keyOf(view.name(index));
    if (key === null) continue;
    if (fields[key] !== null) return null;
    fields[key] = view.value(index);
  }
  return fields;
}

function keyOf(name: string): keyof SignedFields | null {
  switch (name.length) {
    case 9:
      return sameName(name, "signature") ? "signature" : null;
    case 11:
      return sameName(name, "x-remora-cb") ? "binding" : null;
    case 12:
      if (sameName(name, "content-type")) return "contentType";
      if (sameName(name, "x-remora-src")) return "src";
      return sameName(name, "x-remora-dst") ? "dst" : null;
    case 13:
      if (sameName(name, "x-remora-body")) return "body";
      return sameName(name, "x-remora-cert") ? "certificate" : null;
    case 14:
      return sameName(name, "content-digest") ? "contentDigest" : null;
    case 15:
      return sameName(name, "signature-input") ? "signatureInput" : null;
    default:
      return null;
  }
}

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
    if ((view.kind(index) & LOOKED_AT) !== 0 && !take(fields, view.name(index), view.value(index))) return null;
  }
  return fields;
}

/** False when the field was there before. A branch for each, as a store under a computed name costs several times as much. */
function take(fields: SignedFields, name: string, value: string): boolean {
  switch (name.length) {
    case 9:
      if (sameName(name, "signature")) {
        if (fields.signature !== null) return false;
        fields.signature = value;
      }
      return true;
    case 11:
      if (sameName(name, "x-remora-cb")) {
        if (fields.binding !== null) return false;
        fields.binding = value;
      }
      return true;
    case 12:
      if (sameName(name, "content-type")) {
        if (fields.contentType !== null) return false;
        fields.contentType = value;
      } else if (sameName(name, "x-remora-src")) {
        if (fields.src !== null) return false;
        fields.src = value;
      } else if (sameName(name, "x-remora-dst")) {
        if (fields.dst !== null) return false;
        fields.dst = value;
      }
      return true;
    case 13:
      if (sameName(name, "x-remora-body")) {
        if (fields.body !== null) return false;
        fields.body = value;
      } else if (sameName(name, "x-remora-cert")) {
        if (fields.certificate !== null) return false;
        fields.certificate = value;
      }
      return true;
    case 14:
      if (sameName(name, "content-digest")) {
        if (fields.contentDigest !== null) return false;
        fields.contentDigest = value;
      }
      return true;
    case 15:
      if (sameName(name, "signature-input")) {
        if (fields.signatureInput !== null) return false;
        fields.signatureInput = value;
      }
      return true;
    default:
      return true;
  }
}

// One header field as HPACK moves it: name and value once as texts, and everything that is worth knowing about them found once. A dynamic table holds these
// objects and every list of fields refers to them, so that a field which repeats from request to request is neither decoded, looked up nor checked again.
import { FIELD, kindOf } from "../../../core/field-kind.ts";
import { isChanging } from "./changing-names.ts";
import { isFieldValue } from "./field-value.ts";

/** Which pseudo-header field a name is (RFC 9113 section 8.3, RFC 8441 section 4). */
export const PSEUDO = { none: 0, method: 1, scheme: 2, authority: 3, path: 4, status: 5, protocol: 6, unknown: 7 } as const;
export type Pseudo = (typeof PSEUDO)[keyof typeof PSEUDO];

/** How a field came, and so how it goes on (RFC 7541 section 6.2). */
export const INDEXING = {
  /** Its sender put it into the table, or it is in the static one: it will come again. */
  indexed: 0,
  /** A value that is not expected again. */
  once: 1,
  /** A secret: no proxy may put it into a table (RFC 7541 section 7.1.3). */
  never: 2,
} as const;
export type Indexing = (typeof INDEXING)[keyof typeof INDEXING];

/** What an entry counts beyond its octets, in tables and in SETTINGS_MAX_HEADER_LIST_SIZE (RFC 7541 section 4.1). */
export const ENTRY_OVERHEAD_BYTES = 32;

/** What is worth knowing about a name: found once, shared by the entries that have it. */
export class HeaderName {
  /** As it came; one Latin-1 character per octet. */
  readonly text: string;
  readonly pseudo: Pseudo;
  /** A bit of `FIELD`, or 0. */
  readonly kind: number;
  /** False for what may not be in any HTTP/2 message, whatever its place (RFC 9113 section 8.2.1). */
  readonly isWellFormed: boolean;
  /** True when its values are not expected again. */
  readonly isChanging: boolean;
  /** The first index of the static table with this name, 0 for none, -1 while nobody has looked. */
  staticIndex = -1;

  constructor(text: string) {
    this.text = text;
    this.pseudo = pseudoOf(text);
    this.kind = this.pseudo === PSEUDO.none ? kindOf(text) : FIELD.ordinary;
    this.isWellFormed = this.pseudo !== PSEUDO.none || isFieldName(text);
    this.isChanging = isChanging(text, this.kind);
  }
}

/** A field. Immutable but for a guess. */
export class HeaderEntry {
  /** As they came; one Latin-1 character per octet. */
  readonly name: string;
  readonly value: string;
  readonly indexing: Indexing;
  /** A bit of `FIELD`, or 0. */
  readonly kind: number;
  readonly pseudo: Pseudo;
  /** Octets of name and value, and the overhead. */
  readonly size: number;
  /** False for what may not be in any HTTP/2 message, whatever its place (RFC 9113 section 8.2.1). */
  readonly isWellFormed: boolean;
  readonly known: HeaderName;
  /**
   * Where the encoder that wrote it last found it: a number of its dynamic table or, when negative, an index of the static one. Connections share entries, so
   * that this is a guess, and checked; but a right one spares the look-up of name and value.
   */
  place = 0;

  /** A name that is known spares a look at it; so does a value that was looked at. */
  constructor(name: string | HeaderName, value: string, indexing: Indexing, isValueGood: boolean = isFieldValue(value)) {
    const known = typeof name === "string" ? new HeaderName(name) : name;
    this.name = known.text;
    this.value = value;
    this.indexing = indexing;
    this.pseudo = known.pseudo;
    this.kind = known.kind;
    this.size = known.text.length + value.length + ENTRY_OVERHEAD_BYTES;
    this.isWellFormed = known.isWellFormed && isValueGood;
    this.known = known;
  }
}

function pseudoOf(name: string): Pseudo {
  if (name.charCodeAt(0) !== COLON) return PSEUDO.none;
  switch (name) {
    case ":method":
      return PSEUDO.method;
    case ":scheme":
      return PSEUDO.scheme;
    case ":authority":
      return PSEUDO.authority;
    case ":path":
      return PSEUDO.path;
    case ":status":
      return PSEUDO.status;
    case ":protocol":
      return PSEUDO.protocol;
    default:
      return PSEUDO.unknown;
  }
}

const COLON = 0x3a;

/** A token without upper-case letters. */
function isFieldName(name: string): boolean {
  if (name.length === 0) return false;
  for (let at = 0; at < name.length; at += 1) if (NAME_CODES[name.charCodeAt(at)] !== 1) return false;
  return true;
}

const NAME_CODES = new Uint8Array(256);
for (const character of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") NAME_CODES[character.charCodeAt(0)] = 1;

// The fields of one header section as they come out of HPACK: pseudo-header fields apart, the others in order, and what is wrong with them. Refers to the
// table's entries, so that a field which was seen before is neither copied nor checked again.
//
// HOT PATH: per field one call, a few comparisons, one push. No text is made.
import { FIELD } from "../../core/field-kind.ts";
import type { FieldView } from "../fields.ts";
import { type HeaderEntry, PSEUDO } from "./hpack/header-entry.ts";

/** Largest list, as SETTINGS_MAX_HEADER_LIST_SIZE counts (RFC 9113 section 6.5.2), and most fields. */
export const MAX_HEADER_LIST_BYTES = 64 * 1024;
const MAX_FIELDS = 100;
/** Fields of a section after which it is no section but an attack: each may be one octet that stands for kilobytes. */
const MAX_FIELDS_EVER = 4096;

/** Fields that speak of a connection, which HTTP/2 does not have (RFC 9113 section 8.2.2). */
const CONNECTION_SPECIFIC = FIELD.connection | FIELD.transferEncoding | FIELD.upgrade;

/** A header section. */
export class HeaderList implements FieldView {
  readonly entries: HeaderEntry[] = [];
  kinds = 0;
  method: HeaderEntry | null = null;
  scheme: HeaderEntry | null = null;
  authority: HeaderEntry | null = null;
  path: HeaderEntry | null = null;
  status: HeaderEntry | null = null;
  protocol: HeaderEntry | null = null;
  /** What is wrong with it, for the log; null when nothing is. */
  flaw: string | null = null;
  /** True when it has more fields or octets than are kept. */
  isTooLarge = false;
  /** What it counts as, in octets; more than any encoding of it takes. */
  bytes = 0;
  #fields = 0;

  /** Takes a field. One beyond the bounds is only counted. */
  add(entry: HeaderEntry): void {
    this.bytes += entry.size;
    this.#fields += 1;
    if (this.bytes > MAX_HEADER_LIST_BYTES || this.#fields > MAX_FIELDS) {
      this.isTooLarge = true;
      // Only this decides how the refusal is told.
      if (entry.kind === FIELD.contentType && (this.kinds & FIELD.contentType) === 0) this.#keep(entry);
      return;
    }
    if (!entry.isWellFormed) this.flaw ??= `the field ${quoted(entry.name)} is malformed`;
    if (entry.pseudo !== PSEUDO.none) return this.#addPseudo(entry);
    this.#keep(entry);
    const { kind } = entry;
    if ((kind & (CONNECTION_SPECIFIC | FIELD.hopByHop | FIELD.te)) !== 0) this.#checkHop(entry);
  }

  #keep(entry: HeaderEntry): void {
    this.kinds |= entry.kind;
    this.entries.push(entry);
  }

  #addPseudo(entry: HeaderEntry): void {
    if (this.entries.length > 0) this.flaw ??= `${entry.name} comes after other fields`;
    switch (entry.pseudo) {
      case PSEUDO.method:
        if (this.method !== null) this.flaw ??= "two :method";
        this.method = entry;
        break;
      case PSEUDO.scheme:
        if (this.scheme !== null) this.flaw ??= "two :scheme";
        this.scheme = entry;
        break;
      case PSEUDO.authority:
        if (this.authority !== null) this.flaw ??= "two :authority";
        this.authority = entry;
        break;
      case PSEUDO.path:
        if (this.path !== null) this.flaw ??= "two :path";
        this.path = entry;
        break;
      case PSEUDO.status:
        if (this.status !== null) this.flaw ??= "two :status";
        this.status = entry;
        break;
      case PSEUDO.protocol:
        if (this.protocol !== null) this.flaw ??= "two :protocol";
        this.protocol = entry;
        break;
      default:
        this.flaw ??= `unknown pseudo-header field ${quoted(entry.name)}`;
    }
  }

  #checkHop(entry: HeaderEntry): void {
    if (entry.kind === FIELD.te) {
      if (entry.value !== "trailers") this.flaw ??= "te is not trailers";
    } else if ((entry.kind & CONNECTION_SPECIFIC) !== 0 || entry.name === "keep-alive" || entry.name === "proxy-connection") {
      this.flaw ??= `${entry.name} is of a connection`;
    }
  }

  /** True when there are so many fields that only an attacker can mean them. */
  get isAbsurd(): boolean {
    return this.#fields > MAX_FIELDS_EVER;
  }

  /** True when it has any pseudo-header field that belongs into a request. */
  get hasRequestPseudo(): boolean {
    return this.method !== null || this.scheme !== null || this.authority !== null || this.path !== null || this.protocol !== null;
  }

  /** What is wrong with it as a trailer section; null when nothing is (RFC 9113 section 8.1). */
  get flawAsTrailers(): string | null {
    if (this.isTooLarge) return "the trailers are too large";
    if (this.hasRequestPseudo || this.status !== null) return "a pseudo-header field in trailers";
    return this.flaw;
  }

  get count(): number {
    return this.entries.length;
  }

  kind(index: number): number {
    return (this.entries[index] as HeaderEntry).kind;
  }

  name(index: number): string {
    return (this.entries[index] as HeaderEntry).name;
  }

  value(index: number): string {
    return (this.entries[index] as HeaderEntry).value;
  }

  valueLength(index: number): number {
    return (this.entries[index] as HeaderEntry).value.length;
  }

  valueCode(index: number, at: number): number {
    return (this.entries[index] as HeaderEntry).value.charCodeAt(at);
  }

  valueIs(index: number, text: string): boolean {
    return (this.entries[index] as HeaderEntry).value === text;
  }
}

const SHOWN_CHARACTERS = 100;

function quoted(name: string): string {
  return JSON.stringify(name.slice(0, SHOWN_CHARACTERS));
}

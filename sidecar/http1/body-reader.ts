// Follows one message body through the chunks that the network makes of it: how far it goes, what may be forwarded as it came, and the trailer fields
// behind it (RFC 9112 sections 6 and 7). Counters, not buffers: only a trailer section is held, within the bounds of a head.
//
// HOT PATH: per chunk an addition (`length`), or one pass over its framing bytes (`chunked`).
import { ChunkedBody, type OnData } from "./chunked.ts";
import { BODY, type BodyKind } from "./framing.ts";
import { flattened } from "../fields.ts";
import { HeadFields } from "./head-fields.ts";
import { HeadStore, hasEndOfHead } from "./head-store.ts";
import { CR, flawOfUnfinished, LF } from "./scan.ts";
import { FORBIDDEN_TRAILERS, LIMITS, type StrictnessRule } from "./strictness.ts";

const NO_FIELDS: readonly string[] = [];
/** One for the process: a section is read within one call. */
const section = new HeadFields();

/** Follows bodies, one after the other. */
export class BodyReader {
  kind: BodyKind = BODY.none;
  /** True when the last byte of the body was seen; for a body until close never. */
  isDone = true;
  /** What was wrong, set exactly when `advance` returned -1. */
  flaw: StrictnessRule | null = null;
  /** How far the bytes last given to `advance` may be forwarded as they are. */
  passTo = 0;
  /** The trailer fields, flat; complete when a chunked body is done, none of any other. */
  trailers: readonly string[] = NO_FIELDS;
  /** Bytes of a `length` body that are still to come. */
  #left = 0;
  #chunks: ChunkedBody | null = null;
  /** A trailer section that comes in parts; null until there is one. */
  #store: HeadStore | null = null;

  begin(kind: BodyKind, length: number): void {
    this.kind = kind;
    this.flaw = null;
    this.isDone = kind === BODY.none;
    this.#left = length;
    this.trailers = NO_FIELDS;
    if (kind !== BODY.chunked) return;
    this.#chunks ??= new ChunkedBody();
    this.#chunks.begin();
    this.#store = null;
  }

  /**
   * Follows bytes[start..end) and returns how many of them belong to the body, as an index; -1 with `flaw` when they can't be one. `onData` is given the
   * content without chunk framing; null when nobody wants it apart.
   */
  advance(bytes: Buffer, start: number, end: number, onData: OnData | null): number {
    if (this.kind === BODY.chunked) return this.#advanceChunked(bytes, start, end, onData);
    const to = this.kind === BODY.length ? Math.min(end, start + this.#left) : end;
    this.#left -= to - start;
    this.passTo = to;
    if (this.kind === BODY.length && this.#left === 0) this.isDone = true;
    if (onData !== null) onData(bytes, start, to);
    return to;
  }

  #advanceChunked(bytes: Buffer, start: number, end: number, onData: OnData | null): number {
    const chunks = this.#chunks as ChunkedBody; // made by `begin` for this kind
    this.passTo = start;
    let index = start;
    if (!chunks.isAtTrailers) {
      index = chunks.advance(bytes, start, end, onData);
      if (index === -1) {
        this.flaw = chunks.flaw;
        return -1;
      }
      this.passTo = index;
    }
    return chunks.isAtTrailers && index < end ? this.#advanceTrailers(bytes, index, end) : index;
  }

  #advanceTrailers(bytes: Buffer, start: number, end: number): number {
    const had = this.#store?.length ?? 0;
    if (this.#store !== null) this.#store.add(bytes, start, end);
    const next = this.#store === null ? section.read(bytes, start, end) : this.#readStored(this.#store, had);
    if (next === -1) return this.#failTrailers(section.flaw);
    const length = this.#store === null ? end : this.#store.length;
    if (next > length) return this.#waitForTrailers(bytes, start, end, had);
    if (next - (this.#store === null ? start : 0) > LIMITS.headBytes) return this.#failTrailers("head_too_large");
    if (section.count > 0) this.trailers = flattened(section);
    if (hasForbidden(this.trailers)) return this.#failTrailers("trailer_forbidden");
    const taken = this.#store === null ? next : start + next - had;
    this.#store = null;
    this.isDone = true;
    return taken;
  }

  /** Reads a section that came in parts once its end is there, and not for each part. */
  #readStored(store: HeadStore, had: number): number {
    const isEmpty = store.length >= 2 && store.bytes[0] === CR && store.bytes[1] === LF;
    return isEmpty || hasEndOfHead(store, had) ? section.read(store.bytes, 0, store.length) : store.length + 1;
  }

  #waitForTrailers(bytes: Buffer, start: number, end: number, had: number): number {
    if (this.#store === null) {
      this.#store = new HeadStore();
      this.#store.add(bytes, start, end);
    }
    const flaw = flawOfUnfinished(this.#store.bytes, 0, had, this.#store.length, LIMITS.headBytes);
    return flaw === null ? end : this.#failTrailers(flaw);
  }

  #failTrailers(flaw: StrictnessRule | null): -1 {
    this.flaw = flaw;
    return -1;
  }
}

/** True when a section has a field that no trailer may be. */
export function hasForbidden(fields: readonly string[]): boolean {
  for (let index = 0; index < fields.length; index += 2) if (FORBIDDEN_TRAILERS.has((fields[index] as string).toLowerCase())) return true;
  return false;
}

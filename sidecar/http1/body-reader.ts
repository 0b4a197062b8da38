// Follows one message body through the chunks that the network makes of it: how far it goes, what may be forwarded as it came, and the trailer fields
// behind it (RFC 9112 sections 6 and 7). Counters, not buffers: only a trailer section is held, within the bounds of a head.
//
// HOT PATH: per chunk an addition (`length`), or one pass over its framing bytes (`chunked`).
import { ChunkedBody, type OnData } from "./chunked.ts";
import { BODY, type BodyKind } from "./framing.ts";
import { endOfHead, flawOfUnfinished, readFields } from "./scan.ts";
import { FORBIDDEN_TRAILERS, type StrictnessRule } from "./strictness.ts";

const NO_FIELDS: readonly string[] = [];

/** Follows bodies, one after the other. */
export class BodyReader {
  kind: BodyKind = BODY.none;
  /** True when the last byte of the body was seen; for a body until close never. */
  isDone = true;
  /** What was wrong, set exactly when `advance` returned -1. */
  flaw: StrictnessRule | null = null;
  /** How far the bytes last given to `advance` may be forwarded as they are. */
  passTo = 0;
  /** The trailer fields, flat; complete when a chunked body is done. */
  trailers: readonly string[] = NO_FIELDS;
  /** Bytes of a `length` body that are still to come. */
  #left = 0;
  #chunks: ChunkedBody | null = null;
  #trailerText = "";

  begin(kind: BodyKind, length: number): void {
    this.kind = kind;
    this.flaw = null;
    this.isDone = kind === BODY.none;
    this.#left = length;
    if (kind !== BODY.chunked) return;
    this.#chunks ??= new ChunkedBody();
    this.#chunks.begin();
    this.#trailerText = "";
    this.trailers = NO_FIELDS;
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
    const searched = this.#trailerText.length;
    const text = this.#trailerText + bytes.toString("latin1", start, end);
    const sectionEnd = text.startsWith("\r\n") ? 2 : endOfHead(text, searched);
    if (sectionEnd === -1) {
      this.#trailerText = text;
      this.flaw = flawOfUnfinished(text, searched);
      return this.flaw === null ? end : -1;
    }
    if (sectionEnd > 2) {
      const fields: string[] = [];
      this.flaw = readFields(text, 0, sectionEnd - 2, fields) ?? flawOfTrailers(fields);
      if (this.flaw !== null) return -1;
      this.trailers = fields;
    }
    this.#trailerText = "";
    this.isDone = true;
    return start + sectionEnd - searched;
  }
}

function flawOfTrailers(fields: readonly string[]): StrictnessRule | null {
  for (let index = 0; index < fields.length; index += 2) {
    if (FORBIDDEN_TRAILERS.has((fields[index] as string).toLowerCase())) return "trailer_forbidden";
  }
  return null;
}

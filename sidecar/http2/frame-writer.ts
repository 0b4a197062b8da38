// Writes the frames of one connection into its outbox (RFC 9113 sections 4.1 and 6), but for heads, which `head-writer.ts` writes. Decides nothing: who may send
// how much is the streams' and the connection's business.
//
// HOT PATH: per frame nine octets and a copy, in place.
import { FLAG, FRAME, FRAME_HEADER_BYTES, MAX_FRAME_BYTES, PING_BYTES, put32, putFrameHeader, SETTING_BYTES } from "./frames.ts";
import type { Outbox } from "./outbox.ts";

/** Writes frames. */
export class FrameWriter {
  readonly #outbox: Outbox;

  constructor(outbox: Outbox) {
    this.#outbox = outbox;
  }

  /** DATA with bytes[start..end), in as many frames as it takes; none at all is one empty frame. */
  data(id: number, bytes: Buffer, start: number, end: number, isEnd: boolean): void {
    const outbox = this.#outbox;
    let from = start;
    do {
      const to = Math.min(end, from + MAX_FRAME_BYTES);
      const buffer = outbox.room(FRAME_HEADER_BYTES + to - from);
      const at = putFrameHeader(buffer, outbox.length, to - from, FRAME.data, isEnd && to === end ? FLAG.endStream : 0, id);
      outbox.length = to > from ? at + bytes.copy(buffer, at, from, to) : at;
      if (outbox.isFull) outbox.flush();
      from = to;
    } while (from < end);
  }

  windowUpdate(id: number, increment: number): void {
    const at = this.#begin(4, FRAME.windowUpdate, 0, id);
    put32(this.#outbox.buffer as Buffer, at, increment);
  }

  reset(id: number, code: number): void {
    const at = this.#begin(4, FRAME.reset, 0, id);
    put32(this.#outbox.buffer as Buffer, at, code);
  }

  /** What a client sends first, or nothing, and our SETTINGS. */
  preface(preface: Buffer, settings: readonly (readonly [number, number])[]): void {
    const first = this.#outbox.room(preface.length);
    this.#outbox.length += preface.copy(first, this.#outbox.length);
    let at = this.#begin(settings.length * SETTING_BYTES, FRAME.settings, 0, 0);
    const buffer = this.#outbox.buffer as Buffer;
    for (const [setting, value] of settings) {
      buffer[at] = 0;
      buffer[at + 1] = setting;
      at = put32(buffer, at + 2, value);
    }
  }

  settingsAck(): void {
    this.#begin(0, FRAME.settings, FLAG.ack, 0);
  }

  ping(): void {
    const at = this.#begin(PING_BYTES, FRAME.ping, 0, 0);
    (this.#outbox.buffer as Buffer).fill(0, at, at + PING_BYTES);
  }

  /** The answer to a PING with bytes[start..start+8). */
  pong(bytes: Buffer, start: number): void {
    const at = this.#begin(PING_BYTES, FRAME.ping, FLAG.ack, 0);
    bytes.copy(this.#outbox.buffer as Buffer, at, start, start + PING_BYTES);
  }

  goaway(lastId: number, code: number): void {
    const at = this.#begin(8, FRAME.goaway, 0, 0);
    put32(this.#outbox.buffer as Buffer, put32(this.#outbox.buffer as Buffer, at, lastId), code);
  }

  /** Makes room for a small frame, writes its header, and returns where its payload goes: into the outbox's buffer, which is there from now on. */
  #begin(length: number, type: number, flags: number, id: number): number {
    const outbox = this.#outbox;
    const buffer = outbox.room(FRAME_HEADER_BYTES + length);
    const at = putFrameHeader(buffer, outbox.length, length, type, flags, id);
    outbox.length = at + length;
    return at;
  }
}

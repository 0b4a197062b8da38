// Collects a message head from the chunks it comes in, as one text of Latin-1 characters: usually one chunk and one conversion. Requests and answers share
// it. Bounded by `LIMITS.headBytes`; a head that comes byte by byte is searched for its end only where it is new.
import { endOfHead, flawOfUnfinished } from "./scan.ts";
import { LIMITS, type StrictnessRule } from "./strictness.ts";

/** Most of a chunk that is made a text at first: what follows a head is body, and not wanted as text. */
const FIRST_LOOK_BYTES = 2048;

/** The head that is coming. */
export class HeadBuffer {
  /** What has come of it; the whole head, and perhaps more behind it, when `take` returned its end. */
  text = "";
  /** Length of the head in `text`, its empty line included. Valid when `take` returned its end. */
  length = 0;
  /** What is wrong with it already, set exactly when `take` returned -1. */
  flaw: StrictnessRule | null = null;
  /** Characters of `text` that came before, while it is not whole. */
  #carried = 0;

  /** True when a part of a head has come. */
  get isBegun(): boolean {
    return this.#carried > 0;
  }

  /** Takes bytes[start..end). Returns the index behind the head when it is whole, `end + 1` when more must come, -1 when it can't become one. */
  take(bytes: Buffer, start: number, end: number): number {
    const carried = this.#carried;
    const looked = Math.min(end, start + FIRST_LOOK_BYTES);
    let text = bytes.toString("latin1", start, looked);
    if (carried > 0) text = this.text + text;
    let length = endOfHead(text, carried);
    if (length === -1 && looked < end) {
      text += bytes.toString("latin1", looked, Math.min(end, start + LIMITS.headBytes + 1));
      length = endOfHead(text, carried);
    }
    this.text = text;
    this.length = length;
    this.#carried = 0;
    if (length !== -1 && length <= LIMITS.headBytes) return start + length - carried;
    this.flaw = length === -1 ? flawOfUnfinished(text, carried) : "head_too_large";
    if (this.flaw !== null) return -1;
    this.#carried = text.length;
    return end + 1;
  }

  /** Forgets what has come. */
  clear(): void {
    this.text = "";
    this.#carried = 0;
  }
}

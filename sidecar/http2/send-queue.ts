// The streams of one connection that have something to send, each in its turn: a list through the streams themselves, so that nothing is allocated for it.
import type { Stream } from "./stream.ts";

/** A queue of streams. */
export class SendQueue {
  /** Whose turn it is; null for an empty queue. */
  first: Stream | null = null;
  #last: Stream | null = null;

  /** Puts a stream behind the others, unless it is in the queue already. */
  push(stream: Stream): void {
    if (stream.isQueued) return;
    stream.isQueued = true;
    if (this.#last === null) this.first = stream;
    else this.#last.next = stream;
    this.#last = stream;
  }

  /** Takes the first one out. Only while there is one. */
  take(): Stream {
    const stream = this.first as Stream;
    this.first = stream.next;
    if (this.first === null) this.#last = null;
    stream.next = null;
    stream.isQueued = false;
    return stream;
  }
}

// The open streams of one connection by their ids: a hash table whose chains go through the streams themselves. Ids of one connection come one after the other, so
// that the chains are short. A Map does the same, but one that is emptied again and again, as by a connection with a call at a time, is made smaller and larger by V8's
// runtime with each of them.
//
// HOT PATH: finding, adding and taking out are a few loads and stores each.
import type { Stream } from "./stream.ts";

const FIRST_CHAINS = 8;

/** A table of streams. */
export class StreamTable {
  size = 0;
  #chains: (Stream | null)[] = emptyChains(FIRST_CHAINS);
  /** Chains less one. */
  #mask = FIRST_CHAINS - 1;

  /** The stream with an id; null without one. */
  get(id: number): Stream | null {
    let stream = this.#chains[(id >> 1) & this.#mask] as Stream | null;
    while (stream !== null && stream.id !== id) stream = stream.following;
    return stream;
  }

  /** Adds a stream whose id is not in it. */
  add(stream: Stream): void {
    if (this.size > this.#mask) this.#grow();
    this.size += 1;
    this.#put(stream);
  }

  #put(stream: Stream): void {
    const chain = (stream.id >> 1) & this.#mask; // a connection's streams are all odd
    stream.following = this.#chains[chain] as Stream | null;
    this.#chains[chain] = stream;
  }

  /** Takes a stream out, if it is in it. */
  remove(stream: Stream): void {
    const chain = (stream.id >> 1) & this.#mask;
    let before: Stream | null = null;
    let at = this.#chains[chain] as Stream | null;
    while (at !== null && at !== stream) {
      before = at;
      at = at.following;
    }
    if (at === null) return;
    if (before === null) this.#chains[chain] = stream.following;
    else before.following = stream.following;
    stream.following = null;
    this.size -= 1;
  }

  /** Those that are in it now, in the order of their ids. */
  all(): Stream[] {
    const streams: Stream[] = [];
    for (const first of this.#chains) for (let stream = first; stream !== null; stream = stream.following) streams.push(stream);
    return streams.sort((a, b) => a.id - b.id);
  }

  #grow(): void {
    const streams = this.all();
    this.#chains = emptyChains(2 * this.#chains.length);
    this.#mask = this.#chains.length - 1;
    for (const stream of streams) this.#put(stream);
  }
}

function emptyChains(count: number): (Stream | null)[] {
  return new Array<Stream | null>(count).fill(null);
}

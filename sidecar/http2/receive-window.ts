// What the peer may send on one connection as a whole (RFC 9113 section 5.2). Bytes are given back as soon as they have come, whether they have left already or wait
// here for a slow reader: each stream's own window bounds what of it can wait, so that some 250 stalled streams never hold up the others. Beyond that the
// window is held back until something has left.

/** Size of the window, bytes. */
export const CONNECTION_WINDOW_BYTES = 2 * 1024 * 1024;
/** Bytes of one connection that may wait here before its window is held back. */
const MAX_HELD_BYTES = 16 * 1024 * 1024;

/** The window of one connection. */
export class ReceiveWindow {
  /** What the peer may still send. */
  #left = CONNECTION_WINDOW_BYTES;
  /** What has come and was not given back yet. */
  #owedBytes = 0;
  /** What waits here for whoever it goes to. */
  #heldBytes = 0;
  /** Tells the peer. */
  readonly #giveBack: (bytes: number) => void;

  constructor(giveBack: (bytes: number) => void) {
    this.#giveBack = giveBack;
  }

  /** So many octets of DATA come. False: more than the peer was allowed. */
  take(bytes: number): boolean {
    this.#left -= bytes;
    this.#owedBytes += bytes;
    if (this.#left < 0) return false;
    this.#settle();
    return true;
  }

  /** So many of them wait. */
  hold(bytes: number): void {
    this.#heldBytes += bytes;
  }

  /** So many wait no more. */
  release(bytes: number): void {
    this.#heldBytes -= bytes;
    this.#settle();
  }

  #settle(): void {
    if (this.#owedBytes * 2 < CONNECTION_WINDOW_BYTES || this.#heldBytes > MAX_HELD_BYTES) return;
    const bytes = this.#owedBytes;
    this.#owedBytes = 0;
    this.#left += bytes;
    this.#giveBack(bytes);
  }
}

// What of a request's content and trailers has come: held until a connection is there or until it is known whole (design 9), and kept after it was sent for as long
// as it may have to be sent again. Owns no decision about either.
//
// HOT PATH: a body that comes whole in one piece behind its head is never copied but into the ring of `kept-bodies.ts`.
import { ByteQueue } from "./byte-queue.ts";
import type { HeaderList } from "./header-list.ts";
import { keepBody, keptBody, NOT_KEPT } from "./kept-bodies.ts";

const NO_BYTES = Buffer.alloc(0);

/** Counts what waits here against the connection that it came on. */
export interface BodyOwner {
  hold(bytes: number): void;
  release(bytes: number): void;
}

/** The content of one request. */
export class RequestBody {
  /** The client has ended its request, with trailers or without. */
  isWhole: boolean;
  trailers: HeaderList | null = null;
  /** True while all that was sent can be sent again. */
  isRepeatable = true;
  readonly #owner: BodyOwner;
  /** A whole body that came in one piece, while it is being looked at. */
  #view: Buffer | null = null;
  /** What came before it could be sent, and how much of it was not sent yet. */
  #early: ByteQueue | null = null;
  #unsentBytes = 0;
  /** What came behind that, if it is kept. */
  #kept = NOT_KEPT;
  #keptBytes = 0;

  constructor(owner: BodyOwner, isWhole: boolean) {
    this.#owner = owner;
    this.isWhole = isWhole;
  }

  /** Bytes that are held. */
  get heldBytes(): number {
    return this.#early === null ? 0 : this.#early.length;
  }

  /** True when nothing was held so far. */
  get isFresh(): boolean {
    return this.#early === null;
  }

  /** True when there is content to send. */
  get hasContent(): boolean {
    return this.#view !== null || this.#early !== null || this.#kept !== NOT_KEPT;
  }

  /** All of it, while it is held or kept to be sent again: then it is signed again, too. Valid until the next body is kept. */
  whole(): Buffer {
    return this.#view ?? this.#early?.whole() ?? keptBody(this.#kept, this.#keptBytes) ?? NO_BYTES;
  }

  /** Copies bytes[start..end) behind what is held. */
  hold(bytes: Buffer, start: number, end: number): void {
    this.#early ??= new ByteQueue();
    this.#early.push(bytes, start, end);
    this.#unsentBytes += end - start;
    this.#owner.hold(end - start);
  }

  /** Shows a whole body that came in one piece as if it were held, until {@link takeBack}: what was not sent by then is to be held. */
  lend(bytes: Buffer, start: number, end: number): void {
    this.#view = viewOf(bytes, start, end);
  }

  takeBack(): void {
    this.#view = null;
  }

  /** Notes bytes that are being sent as they come: one piece behind the head is kept, anything longer is sent only once. */
  noteSent(bytes: Buffer, start: number, end: number): void {
    if (end === start || !this.isRepeatable) return;
    if (this.#keptBytes > 0 || this.#early !== null) this.isRepeatable = false;
    else {
      this.#kept = keepBody(bytes, start, end);
      this.#keptBytes = end - start;
      this.isRepeatable = this.#kept !== NOT_KEPT;
    }
  }

  /** True when what has to be sent again was overwritten meanwhile. */
  get isForgotten(): boolean {
    return this.#kept !== NOT_KEPT && keptBody(this.#kept, this.#keptBytes) === null;
  }

  /** What has come so far, to be sent (again): held no more but kept. Valid until the next body is kept. */
  toSend(): Buffer | null {
    const view = this.#view;
    if (view !== null) {
      this.noteSent(view, 0, view.length);
      return view;
    }
    this.#releaseUnsent();
    return this.#early === null ? keptBody(this.#kept, this.#keptBytes) : this.#early.whole();
  }

  /** Nothing of it is needed any more. */
  drop(): void {
    this.#releaseUnsent();
    this.#early = null;
    this.isRepeatable = false;
  }

  #releaseUnsent(): void {
    if (this.#unsentBytes === 0) return;
    this.#owner.release(this.#unsentBytes);
    this.#unsentBytes = 0;
  }
}

/** A shorter body is copied to where views are kept: making a view costs more than that, and is work for the collector. */
const SHORT_BYTES = 1024;
const short = Buffer.allocUnsafeSlow(SHORT_BYTES);
/** Views of `short` from its start, by their length. */
const shortViews: (Buffer | undefined)[] = new Array(SHORT_BYTES + 1);

/** A view of bytes[start..end), or of a copy of them that is valid until the next one is asked for. */
function viewOf(bytes: Buffer, start: number, end: number): Buffer {
  const length = end - start;
  if (length > SHORT_BYTES) return bytes.subarray(start, end);
  const view = shortViews[length] ?? short.subarray(0, length);
  shortViews[length] = view;
  bytes.copy(short, 0, start, end);
  return view;
}

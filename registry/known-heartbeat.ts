// The heartbeat that a stream heard last, so that the next one, which says the same but for its load, is recognised by its octets: nothing of it is decoded, checked or
// formatted but the load. One is recognised exactly when decoding both would give the same fields with another load, because both are one and the same text
// around one load field.
//
// HOT PATH: two comparisons of memory and the load's few numbers.
import { heartbeatLoad } from "../core/wire/registry-messages.ts";
import { readLoad } from "./announcement.ts";
import type { Lease, Load } from "./lease.ts";

/** The load's tag in a HeartbeatRequest: field 11, length-delimited. */
const LOAD_TAG = (11 << 3) | 2;
/** A load has seven numbers; its length is one octet. */
const MAX_LOAD_BYTES = 127;
const CONTINUES = 0x80;
const WIRE_TYPE_MASK = 0b111;

/** An accepted heartbeat. */
export class KnownHeartbeat {
  readonly lease: Lease;
  readonly #bytes: Buffer;
  /** Where the load's field begins, and what is behind it. */
  readonly #loadFrom: number;
  readonly #restFrom: number;

  private constructor(bytes: Buffer, lease: Lease, loadFrom: number, restFrom: number) {
    this.#bytes = bytes;
    this.lease = lease;
    this.#loadFrom = loadFrom;
    this.#restFrom = restFrom;
  }

  /** Remembers the heartbeat that `lease` was read from, without a copy; null when it has no load, or more than one. */
  static of(bytes: Buffer, lease: Lease): KnownHeartbeat | null {
    const place = findLoad(bytes);
    return place === null ? null : new KnownHeartbeat(bytes, lease, place.from, place.to);
  }

  /** The load of a heartbeat that says the same otherwise; null when it does not. */
  loadOf(bytes: Buffer, start: number, end: number): Load | null {
    const loadFrom = start + this.#loadFrom;
    const length = bytes[loadFrom + 1] ?? CONTINUES;
    const restFrom = loadFrom + 2 + length;
    const known = this.#bytes;
    const restBytes = known.length - this.#restFrom;
    if (bytes[loadFrom] !== LOAD_TAG || length > MAX_LOAD_BYTES || end - restFrom !== restBytes) return null;
    if (known.compare(bytes, start, loadFrom, 0, this.#loadFrom) !== 0) return null;
    if (known.compare(bytes, restFrom, end, this.#restFrom, known.length) !== 0) return null;
    try {
      return readLoad(heartbeatLoad.decode(bytes.subarray(loadFrom + 2, restFrom)));
    } catch {
      return null; // whoever reads it whole says what is wrong
    }
  }
}

/** Where the one load field of a message stands; null when there is none, several, or anything that this does not read. */
function findLoad(bytes: Buffer): { readonly from: number; readonly to: number } | null {
  let found: { readonly from: number; readonly to: number } | null = null;
  const end = bytes.length;
  let at = 0;
  while (at < end) {
    const tag = bytes[at] as number; // within the bytes
    const next = tag >= CONTINUES ? -1 : endOfField(bytes, at + 1, end, tag & WIRE_TYPE_MASK);
    if (next === -1) return null;
    if (tag === LOAD_TAG) {
      if (found !== null || next - at > MAX_LOAD_BYTES + 2) return null;
      found = { from: at, to: next };
    }
    at = next;
  }
  return found;
}

/** Only kinds that a heartbeat has: numbers, and what has a length. */
function endOfField(bytes: Buffer, from: number, end: number, wireType: number): number {
  let at = from;
  let value = 0;
  for (let shift = 0; ; shift += 7) {
    const octet = bytes[at] ?? 0;
    if (at >= end || shift > 63) return -1;
    at += 1;
    value += (octet & 0x7f) * 2 ** shift;
    if (octet < CONTINUES) break;
  }
  if (wireType === 0) return at;
  return wireType === 2 && at + value <= end ? at + value : -1;
}

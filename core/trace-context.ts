// W3C Trace Context (https://www.w3.org/TR/trace-context/), `traceparent` only: always propagated, whether or not spans are exported.
// HOT PATH: one parse and one format per request, no regular expression.
import { randomFillSync } from "node:crypto";

/** A position in a trace. */
export interface TraceContext {
  /** 32 lower case hex digits, not all zero. */
  readonly traceId: string;
  /** 16 lower case hex digits, not all zero. */
  readonly spanId: string;
  readonly sampled: boolean;
}

const VERSION_00_LENGTH = 55;
const MAX_LENGTH = 512;
const POOL_BYTES = 4096;

/** Reads a `traceparent` field value; null when it is absent or invalid (section 3.2.2). Later versions are read as far as version 00 goes. */
export function parseTraceparent(value: string | undefined | null): TraceContext | null {
  if (value === undefined || value === null || value.length < VERSION_00_LENGTH || value.length > MAX_LENGTH) return null;
  if (value[2] !== "-" || value[35] !== "-" || value[52] !== "-") return null;
  if (!isHex(value, 0, 2) || !isHex(value, 3, 35) || !isHex(value, 36, 52) || !isHex(value, 53, 55)) return null;
  if (value.startsWith("ff")) return null;
  const isVersion00 = value.startsWith("00");
  if (value.length > VERSION_00_LENGTH && (isVersion00 || value[VERSION_00_LENGTH] !== "-")) return null;
  if (isZero(value, 3, 35) || isZero(value, 36, 52)) return null;
  return { traceId: value.slice(3, 35), spanId: value.slice(36, 52), sampled: (Number.parseInt(value.slice(53, 55), 16) & 1) === 1 };
}

/** Writes the version 00 field value. */
export function formatTraceparent({ traceId, spanId, sampled }: TraceContext): string {
  return `00-${traceId}-${spanId}-${sampled ? "01" : "00"}`;
}

/** A new span below `parent`; without one, the root of a new trace, not sampled. */
export function childContext(parent: TraceContext | null): TraceContext {
  return { traceId: parent?.traceId ?? randomHex(16), spanId: randomHex(8), sampled: parent?.sampled ?? false };
}

/** The `traceparent` to send on for a request that came with `value`: same trace with a new span id, or a new trace when `value` is no good. */
export function childTraceparent(value: string | undefined | null): string {
  return formatTraceparent(childContext(parseTraceparent(value)));
}

function isHex(text: string, from: number, to: number): boolean {
  for (let index = from; index < to; index++) {
    const code = text.charCodeAt(index);
    const isDigit = code >= 0x30 && code <= 0x39;
    const isLetter = code >= 0x61 && code <= 0x66;
    if (!isDigit && !isLetter) return false;
  }
  return true;
}

function isZero(text: string, from: number, to: number): boolean {
  for (let index = from; index < to; index++) if (text.charCodeAt(index) !== 0x30) return false;
  return true;
}

/** Random bytes are drawn in blocks: one call per id costs more than all the rest here. */
const pool = Buffer.allocUnsafeSlow(POOL_BYTES);
let used = POOL_BYTES;

function randomHex(bytes: number): string {
  if (used + bytes > POOL_BYTES) {
    randomFillSync(pool);
    used = 0;
  }
  const hex = pool.toString("hex", used, used + bytes);
  used += bytes;
  return isZero(hex, 0, hex.length) ? randomHex(bytes) : hex;
}

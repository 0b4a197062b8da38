// W3C Trace Context (https://www.w3.org/TR/trace-context/), `traceparent` only: always propagated, whether or not spans are exported.
// HOT PATH: one pass over the field and one short concatenation per request; a regular expression only for one id in 65536.
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
const DASH = 0x2d;
const ZERO = 0x30;

/** Reads a `traceparent` field value; null when it is absent or invalid (section 3.2.2). Later versions are read as far as version 00 goes. */
export function parseTraceparent(value: string | undefined | null): TraceContext | null {
  if (value === undefined || value === null || !isValid(value)) return null;
  return { traceId: value.slice(3, 35), spanId: value.slice(36, 52), sampled: isSampled(value) };
}

/** Writes the version 00 field value. */
export function formatTraceparent({ traceId, spanId, sampled }: TraceContext): string {
  return `00-${traceId}-${spanId}-${sampled ? "01" : "00"}`;
}

/** A new span below `parent`; without one, the root of a new trace, not sampled. */
export function childContext(parent: TraceContext | null): TraceContext {
  return { traceId: parent?.traceId ?? randomHex(32), spanId: randomHex(16), sampled: parent?.sampled ?? false };
}

/** The `traceparent` to send on for a request that came with `value`: same trace with a new span id, or a new trace when `value` is no good. */
export function childTraceparent(value: string | undefined | null): string {
  if (value === undefined || value === null || !isValid(value)) return `00-${randomHex(32)}-${randomHex(16)}-00`;
  return `00${value.slice(2, 36)}${randomHex(16)}${isSampled(value) ? "-01" : "-00"}`;
}

/** A new request id: 32 random hex digits, as nginx's `$request_id`. */
export function newRequestId(): string {
  return randomHex(32);
}

function isValid(value: string): boolean {
  if (value.length < VERSION_00_LENGTH || value.length > MAX_LENGTH) return false;
  let traceBits = 0;
  let spanBits = 0;
  for (let index = 0; index < VERSION_00_LENGTH; index++) {
    const code = value.charCodeAt(index);
    if (index === 2 || index === 35 || index === 52) {
      if (code !== DASH) return false;
    } else if (!isLowerHex(code)) return false;
    else if (index > 2 && index < 35) traceBits |= code ^ ZERO;
    else if (index > 35 && index < 52) spanBits |= code ^ ZERO;
  }
  if (traceBits === 0 || spanBits === 0) return false; // all zero means none
  const isVersion00 = value.charCodeAt(0) === ZERO && value.charCodeAt(1) === ZERO;
  if (isVersion00) return value.length === VERSION_00_LENGTH;
  return !value.startsWith("ff") && (value.length === VERSION_00_LENGTH || value.charCodeAt(VERSION_00_LENGTH) === DASH);
}

function isLowerHex(code: number): boolean {
  return (code >= 0x30 && code <= 0x39) || (code >= 0x61 && code <= 0x66);
}

/** The lowest bit of the last digit of a valid value: "1" to "9" have it as their code has it, "a" to "f" the other way round. */
function isSampled(value: string): boolean {
  const code = value.charCodeAt(54);
  return (code & 1) === (code < 0x61 ? 1 : 0);
}

/** Random digits are made in blocks and cut from one text: a call and an encoding per id cost more than all the rest here. */
const pool = Buffer.allocUnsafeSlow(POOL_BYTES);
let digits = "";
let used = 0;

function randomHex(length: 16 | 32): string {
  if (used + length > digits.length) {
    digits = randomFillSync(pool).toString("hex");
    used = 0;
  }
  const hex = digits.slice(used, used + length);
  used += length;
  return hex.startsWith("0000") && /^0+$/.test(hex) ? randomHex(length) : hex;
}

// Reads W3C Trace Context (https://www.w3.org/TR/trace-context/), `traceparent` only. Where no spans are exported nobody reads it: it is passed on as it
// came (section 4.3, "forwarding").
//
// HOT PATH while tracing is on: one pass over the field.

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
const DASH = 0x2d;
const ZERO = 0x30;

/** Reads a `traceparent` field value; null when it is absent or invalid (section 3.2.2). Later versions are read as far as version 00 goes. */
export function parseTraceparent(value: string | undefined | null): TraceContext | null {
  if (value === undefined || value === null || !isValid(value)) return null;
  return { traceId: value.slice(3, 35), spanId: value.slice(36, 52), sampled: isSampled(value) };
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

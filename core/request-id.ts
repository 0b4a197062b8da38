// Request ids: 32 random hex digits, as nginx's `$request_id`.
//
// HOT PATH: one cut from a text per request.
import { randomFillSync } from "node:crypto";

const POOL_BYTES = 4096;
const DIGITS = 32;

// Random digits are made in blocks: a call and an encoding per id cost more than all the rest here.
const pool = Buffer.allocUnsafeSlow(POOL_BYTES);
let digits = "";
let used = 0;

/** A new request id. */
export function newRequestId(): string {
  if (used === digits.length) {
    digits = randomFillSync(pool).toString("hex");
    used = 0;
  }
  used += DIGITS;
  return digits.slice(used - DIGITS, used);
}

// The field `grpc-timeout` (grpc/grpc, doc/PROTOCOL-HTTP2.md): how long the caller is willing to wait. One to eight digits and a unit.
import { FIELD } from "../../core/field-kind.ts";
import type { FieldView } from "../fields.ts";

const FORM = /^([0-9]{1,8})([HMSmun])$/;
const UNIT_MS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 };
/** Largest number that the field holds. */
const MAX_AMOUNT = 99_999_999;

/** The time in ms, with a fraction; -1 for what is none. */
export function parseGrpcTimeoutMs(value: string): number {
  const match = FORM.exec(value);
  return match === null ? -1 : Number(match[1]) * (UNIT_MS[match[2] as string] as number);
}

/** Writes a time in ms, rounded down to whole ms (to seconds above 27 hours), at least `1m`. */
export function formatGrpcTimeout(ms: number): string {
  const wholeMs = Math.max(1, Math.floor(ms));
  if (wholeMs <= MAX_AMOUNT) return `${wholeMs}m`;
  return `${Math.min(MAX_AMOUNT, Math.floor(wholeMs / 1_000))}S`;
}

/** The time in a head, ms: Infinity without the field, -1 when it is malformed or there are two: whoever reads the other one would wait for another time. */
export function grpcTimeoutMsOf(fields: FieldView): number {
  if ((fields.kinds & FIELD.grpcTimeout) === 0) return Number.POSITIVE_INFINITY;
  let timeoutMs = -1;
  let seen = 0;
  for (let index = 0; index < fields.count; index += 1) {
    if (fields.kind(index) !== FIELD.grpcTimeout) continue;
    timeoutMs = parseGrpcTimeoutMs(fields.value(index));
    seen += 1;
  }
  return seen === 1 ? timeoutMs : -1;
}

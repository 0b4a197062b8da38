// Twin of core/trace-context.ts.
import { parseTraceparent } from "../../core/trace-context.ts";
import type { Cases } from "./measure.ts";

const VALID = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/** A request that is traced, one that is not, and values that are no good. */
export function cases(): Cases {
  return {
    valid: () => parseTraceparent(VALID),
    none: () => parseTraceparent(null),
    "of a later version": () => parseTraceparent(`01${VALID.slice(2)}-more`),
    "upper case": () => parseTraceparent(VALID.toUpperCase()),
    "512 characters": () => parseTraceparent("0".repeat(512)),
  };
}

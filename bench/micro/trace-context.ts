// Twin of core/trace-context.ts.
import { childTraceparent, parseTraceparent } from "../../core/trace-context.ts";
import type { Cases } from "./measure.ts";

const VALID = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/** A request that is traced, one that is not, and values that are no good. */
export function cases(): Cases {
  return {
    "child of a valid one": () => childTraceparent(VALID),
    "child of none": () => childTraceparent(null),
    "child of a later version": () => childTraceparent(`01${VALID.slice(2)}-more`),
    "child of upper case": () => childTraceparent(VALID.toUpperCase()),
    "child of 512 characters": () => childTraceparent("0".repeat(512)),
    parse: () => parseTraceparent(VALID),
  };
}

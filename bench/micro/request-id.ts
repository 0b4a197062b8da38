// Twin of core/request-id.ts.
import { newRequestId } from "../../core/request-id.ts";
import type { Cases } from "./measure.ts";

/** A new id; each 256th pays for the next 256. */
export function cases(): Cases {
  return { "new id": () => newRequestId() };
}

// Requests that break a row of `sidecar/http1/strictness.ts`, byte by byte. A vector breaks one row only, so that nothing but that row can refuse it.
import { STRICTNESS, type StrictnessRule } from "../../../sidecar/http1/strictness.ts";
import { REQUEST_BODY_VECTORS } from "./request-body-vectors.ts";
import { REQUEST_HEAD_VECTORS } from "./request-head-vectors.ts";
import type { RequestVector } from "./request-vector.ts";

/** The rows that are looked for in requests. */
export const REQUEST_RULES = (Object.keys(STRICTNESS) as StrictnessRule[]).filter((rule) => STRICTNESS[rule].where !== "response");

/** Vectors by row. A test holds that no row of {@link REQUEST_RULES} is without. */
export const REQUEST_VECTORS: Partial<Record<StrictnessRule, readonly RequestVector[]>> = {
  ...REQUEST_HEAD_VECTORS,
  ...REQUEST_BODY_VECTORS,
};

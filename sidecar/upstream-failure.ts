// Names the failure of an upstream in the vocabulary of design 11.
import { ProtocolError } from "../core/errors.ts";
import { type Refusal, refuse } from "./exchange.ts";

/** The refusal that an upstream's error becomes. Errors of our own carry their reason; Node's are told apart by code. */
export function failureOf(error: Error): Refusal {
  if (error instanceof ProtocolError) return refuse(error.code, error.message);
  const code = (error as NodeJS.ErrnoException).code ?? "";
  if (code === "ECONNREFUSED" || code === "EHOSTUNREACH" || code === "ENETUNREACH" || code === "ENOTFOUND")
    return refuse("connect_failed", error.message);
  if (code === "ETIMEDOUT") return refuse("timeout", error.message);
  return refuse("upstream_reset", `${code} ${error.message}`.trim());
}

/**
 * What is said of a request whose upstream has refused it unseen (REFUSED_STREAM, GOAWAY) as often as it was sent: the same as where no connection could be made, so
 * that whoever sent it knows that it was not begun with, and may try elsewhere.
 */
export function refusedUnseen({ detail }: Refusal): Refusal {
  return refuse("connect_failed", detail);
}

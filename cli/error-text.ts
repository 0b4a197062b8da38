// What a person reads when a command fails: one line for what they can act on, the stack only for what is our own mistake.
import { AdmissionError, CertError, ConfigError, PolicyError, ProtocolError, RegistryError } from "../core/errors.ts";

const OURS = [ConfigError, ProtocolError, PolicyError, CertError, RegistryError, AdmissionError];

/** The text for an error that ends a command. Several lines only when a ConfigError lists several mistakes. */
export function errorText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // Who gives a cause has put into words what was tried: that is no mistake of ours.
  if (OURS.some((kind) => error instanceof kind) || hasCode(error) || error.cause instanceof Error) return withCauses(error);
  return error.stack ?? error.message;
}

/** True for errors that carry a code: system errors, gRPC errors and the boundary errors of every part. */
function hasCode(error: Error): boolean {
  return "code" in error && (typeof error.code === "string" || typeof error.code === "number");
}

function withCauses(error: Error): string {
  const parts = [error.message];
  for (let cause = error.cause; cause instanceof Error && parts.length < 4; cause = cause.cause) {
    if (!parts.some((part) => part.includes((cause as Error).message))) parts.push(cause.message);
  }
  return parts.join(": ");
}

// How lists and watches of the Kubernetes API fail, and what that means: what we know is too old, nobody is there, or somebody refuses.

/** How a watch ends on which nothing came any more. */
export const SILENCE = Symbol("silence");
const GONE = 410;

/** Since 1.35 Kubernetes promises that versions of one kind can be compared as numbers. */
export function isEarlier(version: string | undefined, than: string): boolean {
  const isNumber = (text: string | undefined): text is string => text !== undefined && /^\d{1,40}$/.test(text);
  return isNumber(version) && isNumber(than) && BigInt(version) < BigInt(than);
}

/** An error of a call, or the Status object that a watch ends with. */
interface Failure {
  readonly code?: unknown;
  readonly statusCode?: unknown;
}

/** The API server no longer remembers the version that was asked for. */
export function isGone(error: unknown): boolean {
  const failure = error as Failure | null | undefined;
  return failure?.code === GONE || failure?.statusCode === GONE;
}

/** The client gives up on a connection on which nothing came; it is no failure of what is followed. */
export function isSilence(error: unknown): boolean {
  return error === SILENCE || (error as { readonly name?: unknown } | null)?.name === "TimeoutError";
}

/** For a person. */
export function explain(error: unknown): string {
  const failure = (error as Failure | null) ?? {};
  const status = typeof failure.code === "number" ? failure.code : failure.statusCode;
  if (status === 403) return "the API server answers 403, the service account lacks the right to list and watch them";
  if (typeof status === "number") return `the API server answers ${status}`;
  const reason = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return reason instanceof Error ? reason.message : String(reason);
}

// gRPC calls as hard as the path takes them, by h2load: it speaks HTTP/2 in cleartext without asking first and takes little of the machine. It does
// not look into answers, so their bytes are counted: a call refused with the status 200 and trailers has none.
import { findProgram } from "../../test/support/requires.ts";
import type { LoadResult } from "./generate.ts";
import { REQUEST_MESSAGE } from "./grpc-messages.ts";
import { runH2load } from "./h2load.ts";

/** What to call. */
export interface GrpcCallsOptions {
  readonly url: string;
  /** `:authority`, or null for the URL's. */
  readonly authority: string | null;
  readonly connections: number;
  /** Calls at once on each connection. */
  readonly streams: number;
  /** Whole seconds. */
  readonly durationS: number;
  /** Of the body of a right answer, prefixes included. */
  readonly answerBytes: number;
}

/** Why there can be no such load; null when there can. */
export function callsImpossible(): string | null {
  return findProgram("h2load") === null ? "h2load is missing: not installed: apt-get install nghttp2-client" : null;
}

/** Calls for `durationS` and resolves when that is over. An answer is counted as failed for each that has too few or too many bytes. */
export async function callGrpc(options: GrpcCallsOptions): Promise<LoadResult> {
  const { url, authority, connections, streams, durationS, answerBytes } = options;
  const program = findProgram("h2load");
  if (program === null) throw new Error(String(callsImpossible()));
  const headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"];
  const { result, printed } = await runH2load(program, {
    url,
    host: authority,
    connections,
    durationS,
    words: ["-m", String(streams), ...headers],
    body: REQUEST_MESSAGE,
  });
  const wrong = wrongAnswers({ printed, requests: result.requests, answerBytes, underWay: connections * streams });
  return { ...result, failed: Math.max(result.failed, neverAnswered(printed)) + wrong };
}

/** How many answers the bytes of all bodies are short of, or beyond, what they should be. Those `underWay` at the end count or not, as far as they came. */
export function wrongAnswers(seen: {
  readonly printed: string;
  readonly requests: number;
  readonly answerBytes: number;
  readonly underWay: number;
}): number {
  const [, data] = /\((\d+)\) data$/m.exec(seen.printed) ?? [];
  if (data === undefined) throw new Error(`h2load printed no bytes: ${seen.printed}`);
  const answers = Number(data) / seen.answerBytes;
  if (answers < seen.requests) return Math.ceil(seen.requests - answers);
  return Math.ceil(Math.max(0, answers - seen.requests - seen.underWay));
}

/** Requests that have no line in the log, as their connection was lost or refused. */
function neverAnswered(printed: string): number {
  const [, failed = "0", timeout = "0"] = /^requests: .* (\d+) failed, \d+ errored, (\d+) timeout$/m.exec(printed) ?? [];
  return Number(failed) + Number(timeout);
}

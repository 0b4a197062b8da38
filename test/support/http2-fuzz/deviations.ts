// Where the two engines differ, by name, and why that is right or at least known. A difference without a row is a failure.
import type { Difference } from "./compare.ts";
import { bodyModeOf, type FuzzExchange } from "./fuzz-case.ts";
import type { CaseRecord } from "./fuzz-world.ts";

/** Why they may differ. */
export const DEVIATIONS = {
  splice_refuses:
    "The splice engine has refused the connection, the stream or the answer, and says so: nothing that is flawed is passed on.",
  compat_refuses: "node:http2 has refused the connection, the stream or the answer.",
  compat_early_answer:
    "An answer that is whole before its request: node:http2 resets the stream behind it, and so loses the request's rest or the answer's end.",
  compat_broken_answer:
    "node:http2 gives an answer that its app broke off behind its head, or with a body that is short, an end in order, or another code.",
  compat_request_trailers: "The compat engine loses the trailers of a request that come together with its end.",
  app_flaw_elsewhere: "A flaw of the app meets another stream, or at another time: each engine numbers its streams in its own order.",
  compat_held_empty:
    "The compat engine waits for ever for the end of an empty body that it is to hold, when it came before the stages had decided.",
  compat_bodiless: "node:http2 ends a stream whose answer has no content before the request's rest is through.",
  client_frame_unfinished:
    "A client's frame does not end, so that it swallows the WINDOW_UPDATEs behind it: the splice engine passes content on as it comes, node:http2 waits for the frame.",
  app_reset_race: "The app or the client breaks a stream off: how much of it comes through before that is a matter of time.",
} as const;
export type DeviationName = keyof typeof DEVIATIONS;

/** The row for a message that one engine let through and the other did not, or not the same, or null. */
export function explainPassage(
  exchange: FuzzExchange,
  splice: CaseRecord,
  compat: CaseRecord,
  missing: "splice" | "compat" | null,
): DeviationName | null {
  if (splice.fuzzCase.mutation?.side === "app") return "app_flaw_elsewhere";
  if (missing === "splice" && hasRefused(exchange, splice)) return "splice_refuses";
  if (missing === "compat" && hasRefused(exchange, compat)) return "compat_refuses";
  if (missing === "compat" && isHeldEmpty(exchange, compat)) return "compat_held_empty";
  if (missing === "compat" && exchange.answer.at === "head") return "compat_early_answer";
  if (exchange.resetAfter !== -1 || exchange.answer.resetAfter !== -1) return "app_reset_race";
  if (missing !== null && LENGTHENS.has(splice.fuzzCase.mutation?.name ?? "")) return "client_frame_unfinished";
  return null;
}

/** Changes after which a frame may be longer than what is sent of it. */
const LENGTHENS: ReadonlySet<string> = new Set(["cut_off", "wrong_length", "flip_header_bit"]);

function hasRefused({ id }: FuzzExchange, { failure, isClosed, refusals, heard }: CaseRecord): boolean {
  const { sections = [], resetCode = -1 } = heard.get(id) ?? {};
  const isOwnAnswer = sections.some((section) => section.includes("x-remora-reason"));
  return failure !== -1 || isClosed || refusals.length > 0 || resetCode !== -1 || isOwnAnswer;
}

function isHeldEmpty({ body }: FuzzExchange, { fuzzCase }: CaseRecord): boolean {
  return body.length > 0 && body.join("") === "" && bodyModeOf(fuzzCase) !== "stream";
}

/** The row for what the compat engine did with a case that does nothing wrong, or null. */
export function explainCompat({ exchange, text }: Difference, compat: CaseRecord): DeviationName | null {
  if (exchange === null) return null;
  if (text.includes("app: trailers  instead")) return "compat_request_trailers";
  if (exchange.answer.resetAfter !== -1) return "compat_broken_answer";
  if (exchange.answer.at === "head") return "compat_early_answer";
  if (exchange.resetAfter !== -1) return "app_reset_race";
  if (hasRefused(exchange, compat)) return "compat_refuses";
  if (isHeldEmpty(exchange, compat)) return "compat_held_empty";
  return exchange.answer.body.length === 0 ? "compat_bodiless" : null;
}

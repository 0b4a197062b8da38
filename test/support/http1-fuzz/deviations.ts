// Where http-proxy and node:http are known to treat a message that breaks no row otherwise than the splice engine: the closed list of differences that are
// no failures. Each says why; a difference that none of them explains is one.
import { METHODS } from "node:http";
import type { Difference, Measure } from "./compare.ts";
import { type AnswerScript, answerTo, type FuzzCase } from "./fuzz-case.ts";
import type { CaseRecord } from "./fuzz-world.ts";
import { type Field, valuesOf } from "./reference-head.ts";
import type { ReferenceRequest, ReferenceRequests } from "./reference.ts";

/** What is known of a difference. */
interface Seen {
  readonly fuzzCase: FuzzCase;
  readonly meant: ReferenceRequests;
  readonly difference: Difference;
  /** How the connection stood at the end. */
  readonly state: CaseRecord["state"];
  /** The request that it is in; null behind the last. */
  readonly request: ReferenceRequest | null;
  /** What the app said to it. */
  readonly answer: string;
  /** The app closed the connection after an earlier answer. */
  readonly hasLeft: boolean;
}

interface Deviation {
  readonly why: string;
  applies(seen: Seen): boolean;
}

const KNOWN_METHODS: ReadonlySet<string> = new Set(METHODS);
const KNOWN_EXTENSION = `[!#$%&'*+.^_\`|~0-9A-Za-z-]+(?:=(?:[!#$%&'*+.^_\`|~0-9A-Za-z-]+|"[^"\\\\\\r\\n]*"))?`;
/** Extensions that llhttp does not read: with blanks, without a name, with bytes beyond ASCII. RFC 9112 section 7.1.1 allows blanks as BWS. */
const ODD_EXTENSION = new RegExp(`\\r\\n[0-9A-Fa-f]+;(?!${KNOWN_EXTENSION}(?:;${KNOWN_EXTENSION})*\\r)`);

/** Interim heads, and one of them says that the connection ends: by `close`, or by being of HTTP/1.0. */
const INTERIM = "HTTP/1\\.[01] 1[0-9][0-9][^\\r\\n]*\\r\\n";
const CLOSE_IN_INTERIM = new RegExp(
  `^(?:${INTERIM}(?:[^\\r\\n]+\\r\\n)*\\r\\n)*?(?:HTTP/1\\.0 1|${INTERIM}(?:[^\\r\\n]+\\r\\n)*?connection:[^\\r\\n]*close)`,
  "i",
);
const TAB_BEHIND_CODING = /\r\ntransfer-encoding:[ \t]*chunked[ \t]*\t[ \t]*\r\n/i;

/** The list. */
export const DEVIATIONS = {
  unknown_method: {
    why: "llhttp knows a list of methods and refuses all other tokens (RFC 9110 section 9.1 leaves the list open)",
    applies: ({ meant }) => meant.requests.some(({ method }) => !KNOWN_METHODS.has(method)),
  },
  reads_ahead: {
    why: "node:http reads pipelined requests while earlier ones are open, and breaks them off when a later one, or what is behind a close, is refused",
    applies: ({ meant, state }) => state === "reset" && meant.rest !== "idle",
  },
  http10_closes: {
    why: "node:http closes after most answers to HTTP/1.0, though it was asked to keep the connection, at times before all of the answer is through",
    applies: ({ meant, difference, state }) =>
      state !== "open" && meant.requests.slice(0, difference.place + 1).some(({ isHttp10 }) => isHttp10),
  },
  http10_keeps: {
    why: "node:http keeps an HTTP/1.0 connection that asked for both, to be kept and to be closed; RFC 9112 section 9.3 has `close` win",
    applies: ({ request, state }) => {
      const options = request === null ? "" : valuesOf(request.fields, "connection").join(",").toLowerCase();
      return state === "open" && request?.isHttp10 === true && /\bclose\b/.test(options) && /\bkeep-alive\b/.test(options);
    },
  },
  tab_behind_coding: {
    why: "llhttp takes `chunked` with a tab behind it for another coding: it refuses the request, and reads the answer until the end of its connection",
    applies: ({ fuzzCase, answer }) => TAB_BEHIND_CODING.test(fuzzCase.pieces.join("")) || TAB_BEHIND_CODING.test(answer),
  },
  other_expectation: {
    why: "node:http answers an expectation that it does not know with 417 by itself (RFC 9110 section 10.1.1 allows both)",
    applies: ({ meant }) =>
      meant.requests.some(({ fields }) => valuesOf(fields, "expect").some((value) => value.toLowerCase() !== "100-continue")),
  },
  expect_in_answer: {
    why: "node:http writes the head of an answer with Expect in it as UTF-8",
    applies: ({ answer }) => /\r\nexpect[ \t]*:/i.test(answer),
  },
  close_in_interim: {
    why: "llhttp takes `close` in a 1xx answer, or HTTP/1.0, for the end of the connection, and the final answer for bytes behind it",
    applies: ({ answer }) => CLOSE_IN_INTERIM.test(answer),
  },
  app_left: {
    why: "node:http does not always notice that an app closed a connection without having said so, and sends the next request into it",
    applies: ({ hasLeft }) => hasLeft,
  },
  odd_chunk_extension: {
    why: "llhttp takes fewer chunk extensions than the grammar has; the splice engine passes on all within their bound",
    applies: ({ fuzzCase, answer }) => ODD_EXTENSION.test(fuzzCase.pieces.join("")) || ODD_EXTENSION.test(answer),
  },
} as const satisfies Record<string, Deviation>;

/** The name of a deviation. */
export type DeviationName = keyof typeof DEVIATIONS;

/** The deviation that explains a difference; null when none does. */
export function explain(fuzzCase: FuzzCase, meant: ReferenceRequests, record: CaseRecord, difference: Difference): DeviationName | null {
  const request = meant.requests[difference.place] ?? null;
  const script =
    request === null ? null : answerTo(fuzzCase, { method: request.method, path: request.path, content: request.body.content });
  const hasLeft = meant.requests.slice(0, Math.max(0, difference.place)).some((earlier) => scriptFor(fuzzCase, earlier).after !== "keep");
  const seen = { fuzzCase, meant, difference, state: record.state, request, answer: script?.pieces.join("") ?? "", hasLeft };
  for (const [name, deviation] of Object.entries(DEVIATIONS) as [DeviationName, Deviation][]) if (deviation.applies(seen)) return name;
  return null;
}

/** True when llhttp is known to read `bytes` as the table does, as far as they break no row; `requests` are those in them. */
export function isReadByNode(bytes: string, requests: readonly ReferenceRequest[]): boolean {
  return (
    requests.every(({ method }) => KNOWN_METHODS.has(method)) &&
    !ODD_EXTENSION.test(bytes) &&
    !TAB_BEHIND_CODING.test(bytes) &&
    !CLOSE_IN_INTERIM.test(bytes)
  );
}

function scriptFor(fuzzCase: FuzzCase, { method, path, body }: ReferenceRequest): AnswerScript {
  return answerTo(fuzzCase, { method, path, content: body.content });
}

/** What the compat engine is held to: requests as http-proxy writes them anew. */
export const COMPAT: Measure = {
  isStrict: false,
  seesInside: true,
  isFollowed: () => true,
  answerTo,
  passedOn: (request) => ({
    ...request,
    fields: joinedCookies(request.fields.filter(([name]) => name.toLowerCase() !== "trailer")),
    // http-proxy pipes the content and forgets what is behind it.
    body: { ...request.body, trailers: [] },
  }),
};

/** node:http writes one Cookie field (RFC 6265 section 5.4). */
function joinedCookies(fields: readonly Field[]): Field[] {
  const cookies = valuesOf(fields, "cookie");
  if (cookies.length < 2) return [...fields];
  return [...fields.filter(([name]) => name.toLowerCase() !== "cookie"), ["cookie", cookies.join("; ")]];
}

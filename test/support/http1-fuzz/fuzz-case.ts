// One case: what a client sends on one connection, cut where the network cuts it, and what the app answers to each of its requests.

/** How an app answers one request. Bytes are latin1. */
export interface AnswerScript {
  /** The pieces that it writes, one after the other. */
  readonly pieces: readonly string[];
  /** When it begins: with the request's head, or when the request is whole. */
  readonly at: "head" | "end";
  /** Method that it was written for: with and without content are two things. */
  readonly method: string;
  /** What it does after the last piece. */
  readonly after: "keep" | "end" | "reset";
}

/** A case. The same seed and number give the same one. */
export interface FuzzCase {
  readonly seed: number;
  readonly number: number;
  /** The number of the case that it is a copy of, else its own: a token of that one may be left where it lies across chunks. */
  readonly origin: number;
  /** What the client writes, one piece after the other. */
  readonly pieces: readonly string[];
  /** Answers by the token in the request's target; a request without one of them gets {@link defaultAnswer}. */
  readonly answers: ReadonlyMap<string, AnswerScript>;
  /** Requests that were put in, whatever became of them. */
  readonly exchanges: number;
  /**
   * True when its requests may use connections to the app that other cases use too. Not so where the app may close, or send bytes that nobody asked for, when the
   * engine can have given the connection to the next request already: that would be the app's doing.
   */
  readonly sharesPool: boolean;
  /** How the client leaves at the end. */
  readonly leave: "end" | "reset";
}

/** True for a case whose requests' bodies the stages want to see whole before they let them through, as with a signed digest. */
export function holdsBodies({ number }: FuzzCase): boolean {
  return number % 7 === 3;
}

/** Marks everything that belongs to request `index` of case `number`. A changed character makes it no token at all. */
export function tokenOf(number: number, index: number): string {
  return `T${number.toString(36).padStart(NUMBER_DIGITS, "0")}x${index}z${checksum(number, index)}`;
}

/** Tokens are of one length, so that a case can be given another number without becoming another case. */
const NUMBER_DIGITS = 7;
const TOKENS = /T([0-9a-z]{7})x([0-9]{1,4})z([0-9a-z]{6})/g;

/** The tokens in a text, with the case that each belongs to. */
export function tokensIn(text: string): { readonly token: string; readonly number: number }[] {
  const found: { token: string; number: number }[] = [];
  for (const [token, number, index, sum] of text.matchAll(TOKENS)) {
    const parsed = Number.parseInt(number as string, 36);
    if (checksum(parsed, Number(index)) === sum) found.push({ token, number: parsed });
  }
  return found;
}

/** The same case under another number: its tokens are changed wherever they are. */
export function renumbered(fuzzCase: FuzzCase, number: number): FuzzCase {
  const change = (text: string) =>
    text.replace(TOKENS, (token, digits: string, index: string, sum: string) => {
      const isOwn = Number.parseInt(digits, 36) === fuzzCase.number && checksum(fuzzCase.number, Number(index)) === sum;
      return isOwn ? tokenOf(number, Number(index)) : token;
    });
  const answers = [...fuzzCase.answers].map(
    ([token, script]) => [change(token), { ...script, pieces: changeAll(script.pieces, change) }] as const,
  );
  return { ...fuzzCase, number, pieces: changeAll(fuzzCase.pieces, change), answers: new Map(answers) };
}

/** Tokens may lie across pieces. */
function changeAll(pieces: readonly string[], change: (text: string) => string): string[] {
  const changed = change(pieces.join(""));
  let at = 0;
  return pieces.map((piece) => {
    at += piece.length;
    return changed.slice(at - piece.length, at);
  });
}

/** Six characters: a flipped digit goes unnoticed once in two thousand million times. */
function checksum(number: number, index: number): string {
  let mixed = Math.imul(number ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(index + 1, 0xc2b2ae35);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x2c1b3c6d);
  mixed = (mixed ^ (mixed >>> 13)) >>> 0;
  return mixed.toString(36).padStart(6, "0").slice(-6);
}

/** What an app says to a request that nobody wrote an answer for: what it understood. */
export function defaultAnswer(method: string, target: string, content: string): AnswerScript {
  const body = `${method} ${target} ${content.length}`;
  return {
    pieces: [`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${method === "HEAD" ? "" : body}`],
    at: "end",
    method,
    after: "keep",
  };
}

/** What an app writes for a request: by its token, or by default. */
export function answerTo(
  fuzzCase: FuzzCase,
  request: { readonly method: string; readonly path: string; readonly content: string },
): AnswerScript {
  const token = tokensIn(request.path)[0]?.token;
  const script = token === undefined ? undefined : fuzzCase.answers.get(token);
  const isFitting = script !== undefined && (script.method === request.method || (hasContent(script.method) && hasContent(request.method)));
  return isFitting ? script : defaultAnswer(request.method, request.path, request.content);
}

function hasContent(method: string): boolean {
  return method !== "HEAD" && method !== "CONNECT";
}

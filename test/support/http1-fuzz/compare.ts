// Holds what an engine did with a case against what the case means. Strictly for the splice engine: every request that breaks no row arrives as it was sent and
// gets its own answer, everything else is refused by a row that it breaks. For another reader the same, but where a row is broken it may do as it likes.
import { HELD_BODY_BYTES } from "../../../sidecar/engine.ts";
import { STRICTNESS, type StrictnessRule } from "../../../sidecar/http1/strictness.ts";
import { type AnswerScript, answerTo, type FuzzCase, holdsBodies, tokensIn } from "./fuzz-case.ts";
import type { CaseRecord } from "./fuzz-world.ts";
import { differenceOfAnswers, differenceOfRequests, type Text } from "./message-difference.ts";
import { type Flaws, valuesOf } from "./reference-head.ts";
import { type ReferenceAnswer, type ReferenceRequest, type ReferenceRequests, readAnswer } from "./reference.ts";

/** A difference. */
export interface Difference {
  /** Which exchange of the connection it is in; the number of whole requests when it is behind them. */
  readonly place: number;
  /** What differs, for a person. */
  readonly text: Text;
}

const BAD_GATEWAY = 502;
const CONTINUE = "HTTP/1.1 100 Continue\r\n\r\n";

/** What an engine is held to. */
export interface Measure {
  /** It keeps the table: what breaks a row is refused by that row. Otherwise it may do as it likes with such a message. */
  readonly isStrict: boolean;
  /** What came to the app, and the details of refusals, are known. */
  readonly seesInside: boolean;
  /** False for a request of which nothing can be said, as it leaves for somewhere else. */
  isFollowed(request: ReferenceRequest): boolean;
  /** What the app says to a request. */
  answerTo: typeof answerTo;
  /** A request as the engine is known to pass it on, where that is not as it came. */
  passedOn(request: ReferenceRequest): ReferenceRequest;
}

/** The splice engine's. */
export const STRICT: Measure = { isStrict: true, seesInside: true, isFollowed: () => true, answerTo, passedOn: (request) => request };

/** Compares; gives what differs, at most the first thing in each direction. */
export function compare(fuzzCase: FuzzCase, meant: ReferenceRequests, record: CaseRecord, measure: Measure): Difference[] {
  const walk = new Walk(fuzzCase, meant, record, measure);
  const text = walk.run();
  const differences = foreignTokens(record).map((foreign) => ({ place: -1, text: foreign }));
  return text === null ? differences : [...differences, { place: walk.place, text }];
}

/** Tokens of another case in this one's exchanges. */
function foreignTokens({ fuzzCase, sent, heard }: CaseRecord): Text[] {
  const isForeign = (text: string) => tokensIn(text).find(({ number }) => number !== fuzzCase.number && number !== fuzzCase.origin)?.token;
  const [inSent, inHeard] = [isForeign(sent), isForeign(heard)];
  if (inSent !== undefined) return [`the app was sent ${inSent} in another's request`];
  return inHeard === undefined ? [] : [`the client was sent ${inHeard} of another`];
}

/** Goes through a connection's exchanges in order, with a place in what the client heard. */
class Walk {
  readonly #fuzzCase: FuzzCase;
  readonly #meant: ReferenceRequests;
  readonly #record: CaseRecord;
  readonly #isStrict: boolean;
  readonly #measure: Measure;
  #at = 0;
  /** The exchange that is looked at. */
  place = 0;

  constructor(fuzzCase: FuzzCase, meant: ReferenceRequests, record: CaseRecord, measure: Measure) {
    this.#fuzzCase = fuzzCase;
    this.#meant = meant;
    this.#record = record;
    this.#isStrict = measure.isStrict;
    this.#measure = measure;
  }

  /** The first difference, or null. */
  run(): Text | null {
    const { requests } = this.#meant;
    for (const [place, request] of requests.entries()) {
      this.place = place;
      if (!this.#measure.isFollowed(request)) return null;
      // Larger than what is held: refused by the stages, which is not the point here.
      if (holdsBodies(this.#fuzzCase) && request.body.content.length > HELD_BODY_BYTES) return null;
      if (!request.body.isWhole) return this.#isLost(requests[place - 1], request) ? null : this.#unfinished(place, request);
      const script = this.#scriptFor(request);
      // Answered before it was whole: nobody needs the rest.
      const isLeft = script.at === "head" && !this.#record.arrived.get(place)?.body.isWhole;
      const arrived = this.#record.arrived.get(place);
      const isLost = this.#isLost(requests[place - 1], request);
      if (arrived === undefined && !isLost && this.#measure.seesInside) return `request ${place} did not arrive`;
      const difference = arrived === undefined || isLeft || isLost ? null : differenceOfRequests(this.#measure.passedOn(request), arrived);
      if (difference !== null) return `request ${place}: ${difference}`;
      const next = isLost ? "on" : this.#answer(place, request, script);
      if (next !== "on") return next === "stop" ? null : next;
    }
    this.place = requests.length;
    return this.#rest();
  }

  /** Compares the answer to a request: a difference, whether there is more to compare, or that nothing more can be. */
  #answer(place: number, request: ReferenceRequest, script: AnswerScript): Text | "on" | "stop" {
    const given = readAnswer(script.pieces.join(""), request.method, script.after === "end");
    const heard = this.#hear(request.method);
    const label = `answer ${place}`;
    const isOver = script.after !== "keep";
    // Bytes that nobody asked for (answer_not_asked): the other engine may take them for a part of the answer.
    if (!this.#isStrict && given.body?.isWhole === true && given.end < script.pieces.join("").length) return "stop";
    if (given.head !== null && given.body?.isWhole === true && given.flaws.size === 0) {
      const reset = script.after === "reset";
      // A reset may overtake what was sent before it.
      if (reset && !isWhole(heard)) return this.#isGivenUp(heard) ? "stop" : `${label}: neither whole nor given up after a reset`;
      const difference = differenceOfAnswers(given, heard);
      if (difference !== null) return `${label}: ${difference}`;
      this.#at += heard.end;
      // What it sends beyond its answer may meet the next request of this connection.
      if (given.end < script.pieces.join("").length) return "stop";
      // Without a length, an HTTP/1.0 client is told the end by closing; as is any client of an app that does so.
      const isUntilClose = given.head.framing === "close" || (request.isHttp10 && given.head.framing === "chunked");
      const mayEnd = !request.keepsAlive || isUntilClose || script.at === "head";
      return this.#afterAnswer(label, mayEnd, !request.keepsAlive);
    }
    const isPending = !isOver && given.flaws.size === 0;
    if (isPending) {
      // What has come of a head may be refused already.
      if (given.head === null && heard.head?.status === BAD_GATEWAY && isWhole(heard)) return "stop";
      if (given.body?.isDoubtful === true && !isWhole(heard)) return "stop";
      if (isWhole(heard)) return `${label}: whole, though the app had not finished it`;
      return this.#record.state === "open" ? "stop" : `${label}: given up, though the app may still finish it`;
    }
    if (!this.#isStrict && given.flaws.size > 0) return "stop";
    return this.#afterFault(label, given, heard, request);
  }

  /** An answer that breaks a row or was cut off: a 502 without any of it, or its head and a visible end. */
  #afterFault(label: string, given: ReferenceAnswer, heard: ReferenceAnswer, request: ReferenceRequest): Text | "on" | "stop" {
    if (heard.head?.status === BAD_GATEWAY && isWhole(heard) && !(given.head?.status === BAD_GATEWAY)) {
      if (this.#isStrict && given.flaws.size > 0 && !this.#names(given.flaws))
        return `${label}: refused by ${this.#named()}, breaks ${[...given.flaws]}`;
      this.#at += heard.end;
      return this.#afterAnswer(label, true, !request.keepsAlive);
    }
    if (given.head === null) return `${label}: is ${heard.head?.status ?? "nothing"}, not ${BAD_GATEWAY}`;
    if (isWhole(heard)) return `${label}: whole, though the app's was ${given.flaws.size > 0 ? [...given.flaws] : "cut off"}`;
    if (this.#record.state === "open") return `${label}: neither whole nor given up`;
    if (heard.body !== null && !(given.body?.content ?? "").startsWith(heard.body.content))
      return `${label}: the part that came is not the answer's`;
    return "stop";
  }

  #scriptFor(request: ReferenceRequest): AnswerScript {
    const { method, path, body } = this.#measure.passedOn(request);
    return this.#measure.answerTo(this.#fuzzCase, { method, path, content: body.content });
  }

  /** True when the request was answered with 502 because it met an app that had just closed the connection without having said that it would. */
  #isLost(before: ReferenceRequest | undefined, request: ReferenceRequest): boolean {
    if (before === undefined || this.#scriptFor(before).after === "keep") return false;
    const heard = this.#hear(request.method);
    if (heard.head?.status !== BAD_GATEWAY || !isWhole(heard)) return false;
    this.#at += heard.end;
    return true;
  }

  #isGivenUp(heard: ReferenceAnswer): boolean {
    return this.#record.state !== "open" && !isWhole(heard);
  }

  #afterAnswer(label: string, mayEnd: boolean, mustEnd: boolean): Text | "on" | "stop" {
    const isAtEnd = this.#at === this.#record.heard.length && this.#record.state !== "open";
    if (mustEnd && !isAtEnd) return `${label}: the connection goes on`;
    if (mayEnd && isAtEnd) return "stop";
    return "on";
  }

  /** A request whose body is not whole, or breaks a row. */
  #unfinished(place: number, request: ReferenceRequest): Text | null {
    const arrived = this.#record.arrived.get(place);
    if (arrived?.body.isWhole === true && this.#isStrict) return `request ${place} arrived whole, though it is not`;
    // It may be answered already, unless its body is held.
    if ((this.#scriptFor(request).at === "head" && !holdsBodies(this.#fuzzCase)) || !this.#isStrict) return null;
    if (this.#meant.rest === "flawed") return this.#refused(this.#meant.flaws, true);
    if (request.body.isDoubtful && this.#record.state !== "open") return null;
    // Whoever holds a body has to ask for it himself.
    const asksForIt =
      holdsBodies(this.#fuzzCase) && valuesOf(request.fields, "expect").some((value) => value.toLowerCase() === "100-continue");
    if (asksForIt && this.#record.heard.startsWith(CONTINUE, this.#at)) this.#at += CONTINUE.length;
    return this.#silence();
  }

  /** What comes behind the last whole request. */
  #rest(): Text | null {
    switch (this.#meant.rest) {
      case "flawed":
        return this.#isStrict ? this.#refused(this.#meant.flaws, false) : null;
      case "begun":
        if (!this.#isStrict) return null;
        return this.#record.heard.length > this.#at ? this.#refused(null, false) : this.#silence();
      case "closed":
        return this.#isStrict && this.#record.heard.length > this.#at ? "something was sent after the last answer" : null;
      default:
        return this.#isStrict ? this.#silence() : null;
    }
  }

  /** Refused with the status of a row that is broken, and closed. `flaws` null: with any row. */
  #refused(flaws: Flaws | null, isLate: boolean): Text | null {
    if (this.#record.arrived.has(this.#meant.requests.length)) return `a request arrived that breaks ${[...(flaws ?? [])]}`;
    const what = flaws === null ? "an unfinished head" : `what breaks ${[...flaws]}`;
    if (this.#record.state === "open") return `${what} was not refused`;
    if (isLate && this.#record.heard.length === this.#at)
      return this.#names(flaws ?? new Set()) ? null : `${what} was refused by ${this.#named()}`;
    const heard = this.#hear("GET");
    const status = heard.head?.status ?? 0;
    const rules = [...(flaws ?? (Object.keys(STRICTNESS) as StrictnessRule[]))];
    if (!rules.some((rule) => STRICTNESS[rule].status === status)) return `${what} was answered with ${status}`;
    if (this.#at + heard.end !== this.#record.heard.length) return `something was sent after the refusal of ${what}`;
    if (flaws !== null && !this.#names(flaws)) return `${what} was refused by ${this.#named()}`;
    return null;
  }

  #silence(): Text | null {
    if (this.#record.heard.length > this.#at)
      return `nothing was due, but came: ${JSON.stringify(this.#record.heard.slice(this.#at, this.#at + 200))}`;
    return this.#record.state === "open" ? null : "the connection was closed, though more may come";
  }

  #names(flaws: Flaws): boolean {
    if (!this.#measure.seesInside) return true;
    return this.#record.refusals.some((detail) => flaws.has((/^rule: ([a-z0-9_]+)/.exec(detail)?.[1] ?? "") as StrictnessRule));
  }

  #named(): string {
    return this.#record.refusals.join(" | ") || "nothing";
  }

  #hear(method: string): ReferenceAnswer {
    return readAnswer(this.#record.heard.slice(this.#at), method, this.#record.state === "ended");
  }
}

function isWhole(answer: ReferenceAnswer): boolean {
  return answer.head !== null && answer.body?.isWhole === true && answer.flaws.size === 0;
}

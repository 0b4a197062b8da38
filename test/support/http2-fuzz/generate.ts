// Makes cases: some streams side by side, of all kinds of exchanges, their frames interleaved as a client may, with other frames between them.
import { tokenOf } from "../http1-fuzz/fuzz-case.ts";
import { createSeededRandom, type SeededRandom } from "../seeded-random.ts";
import { type Field, FRAME, frame, PREFACE, settings, uint32, windowUpdate } from "./frame-text.ts";
import type { Answer, FuzzCase, FuzzExchange, Message, Mutation } from "./fuzz-case.ts";
import { cutAt, messageFrames } from "./message-frames.ts";
import { MUTATION_NAMES, mutate } from "./mutate.ts";

const MAX_STREAMS = 6;
const WINDOWS = [65_535, 65_535, 65_535, 1_000_000, 1_000, 100, 17] as const;

/** How a case differs from the one of its number. */
export interface Variant {
  /** Number that its tokens are made of; default: its own. */
  readonly as?: number;
  /** Where the client's bytes are cut in two; -1 for into single octets. Default: at random. */
  readonly cutAt?: number;
}

/** The case of a seed and a number. */
export function generateCase(seed: number, number: number, variant: Variant = {}): FuzzCase {
  const random = createSeededRandom(Math.imul(seed, 0x9e3779b1) ^ number);
  const as = variant.as ?? number;
  const kind = random.below(10);
  const side = kind < 6 ? null : kind < 8 ? "client" : "app";
  const mutation: Mutation | null = side === null ? null : { side, name: random.pick(MUTATION_NAMES) };
  const exchanges = Array.from({ length: 1 + random.below(MAX_STREAMS) }, (_, index) =>
    exchange(random, tokenOf(as, index), 2 * index + 1),
  );
  const clientWindow = random.pick(WINDOWS);
  let frames = interleaved(random, exchanges);
  if (mutation?.side === "client") frames = mutate(random, mutation.name, frames);
  const bytes = Buffer.concat([PREFACE, settings([4, clientWindow], [2, 0]), ...frames]);
  const pieces = cut(random, bytes, frames, variant.cutAt);
  return {
    seed,
    number: as,
    exchanges,
    pieces,
    clientWindow,
    appWindow: random.pick(WINDOWS),
    mutation,
    answerSeed: random.below(2 ** 31),
    leave: random.below(2) === 0 ? "end" : "reset",
  };
}

function exchange(random: SeededRandom, token: string, id: number): FuzzExchange {
  const method = random.pick(["GET", "GET", "POST", "POST", "PUT", "HEAD", "OPTIONS", "DELETE"]);
  const hasBody = method === "POST" || method === "PUT" || random.below(10) === 0;
  const request = message(random, token, hasBody);
  return {
    token,
    id,
    method,
    path: `/${token}/${"p".repeat(random.below(20))}?q=${random.below(10)}`,
    ...request,
    answer: answer(random, token, method),
  };
}

function answer(random: SeededRandom, token: string, method: string): Answer {
  const status = random.pick(["200", "200", "200", "201", "204", "304", "404", "500", "503"]);
  const isBodiless = method === "HEAD" || status === "204" || status === "304";
  return {
    ...message(random, token, !isBodiless && random.below(4) > 0),
    ...(isBodiless ? { trailers: null } : {}),
    status,
    interims: random.below(8) === 0 ? 1 + random.below(3) : 0,
    at: random.below(4) === 0 ? "head" : "end",
  };
}

function message(random: SeededRandom, token: string, hasBody: boolean): Message {
  const body = hasBody ? Array.from({ length: 1 + random.below(4) }, () => content(random, token)) : [];
  const fields: Field[] = Array.from({ length: random.below(5) }, (_, index) => [`f-${index}`, value(random, token)] as const);
  if (hasBody && random.below(2) === 0) fields.push(["content-length", String(body.join("").length)]);
  const trailers = hasBody && random.below(4) === 0 ? [["f-trailer", value(random, token)] as const] : null;
  return { fields, body, trailers, resetAfter: random.below(12) === 0 ? 1 + random.below(body.length + 1) : -1 };
}

function value(random: SeededRandom, token: string): string {
  return random.below(3) === 0 ? token : "v".repeat(random.below(6) === 0 ? random.below(600) : random.below(20));
}

/** Content that says whose it is. */
function content(random: SeededRandom, token: string): string {
  const length = random.pick([0, 1, 10, 100, 700, 3_000]);
  return `${token}.`.repeat(Math.ceil(length / token.length)).slice(0, length);
}

/** The streams' frames in an order that HTTP/2 allows: a new stream's number is higher than all before it. */
function interleaved(random: SeededRandom, exchanges: readonly FuzzExchange[]): Buffer[] {
  const waiting = exchanges.map((each) => {
    const pseudo: Field[] = [
      [":method", each.method],
      [":scheme", "http"],
      [":authority", "orders"],
      [":path", each.path],
    ];
    return messageFrames(random, each.id, pseudo, each);
  });
  const frames: Buffer[] = [];
  let opened = 0;
  while (waiting.some((groups) => groups.length > 0)) {
    const candidates = waiting.filter((groups, index) => groups.length > 0 && index <= opened);
    const groups = random.pick(candidates);
    if (waiting.indexOf(groups) === opened) opened += 1;
    frames.push(...(groups.shift() as Buffer[]));
    if (random.below(8) === 0) frames.push(other(random));
  }
  return frames;
}

/** A frame that says nothing of a request. */
function other(random: SeededRandom): Buffer {
  return random.pick([
    () => frame(FRAME.ping, 0, 0, Buffer.alloc(8)),
    () => windowUpdate(0, 1 + random.below(1_000)),
    () => frame(FRAME.priority, 0, 1 + 2 * random.below(MAX_STREAMS), Buffer.concat([uint32(0), Buffer.from([7])])),
    () => frame(0x20 + random.below(100), random.below(256), random.below(20), Buffer.alloc(random.below(20))),
    () => settings([3, 100]),
  ])();
}

function cut(random: SeededRandom, bytes: Buffer, frames: readonly Buffer[], at: number | undefined): Buffer[] {
  if (at === -1) return Array.from(bytes, (_, index) => bytes.subarray(index, index + 1));
  if (at !== undefined) return [bytes.subarray(0, at), bytes.subarray(at)];
  const begun = bytes.length - frames.reduce((sum, { length }) => sum + length, 0);
  switch (random.below(4)) {
    case 0:
      return [bytes];
    case 1:
      return [bytes.subarray(0, begun), ...frames];
    case 2:
      return cutAt(random, bytes, 1 + random.below(20)).filter(({ length }) => length > 0);
    default:
      return bytes.length > 3_000 ? cutAt(random, bytes, 60).filter(({ length }) => length > 0) : cut(random, bytes, frames, -1);
  }
}

// A message as frames: cut, padded, with priorities and CONTINUATIONs, as a peer may do it.
import type { SeededRandom } from "../seeded-random.ts";
import { block, FLAG, FRAME, type Field, frame, reset, uint32 } from "./frame-text.ts";
import type { Message } from "./fuzz-case.ts";

const CANCEL = 8;

/** The frames of a message on stream `id`, in groups that no other frame may come between. `pseudo` leads its head. */
export function messageFrames(random: SeededRandom, id: number, pseudo: readonly Field[], message: Message): Buffer[][] {
  const { fields, body, trailers, resetAfter } = message;
  const groups = [section(random, id, [...pseudo, ...fields], body.length === 0 && trailers === null)];
  body.forEach((content, index) => {
    groups.push([contentFrame(random, id, content, index === body.length - 1 && trailers === null)]);
  });
  if (trailers !== null) groups.push(section(random, id, trailers, true));
  return resetAfter === -1 ? groups : [...groups.slice(0, resetAfter), [reset(id, CANCEL)]];
}

/** HEADERS and maybe CONTINUATIONs. */
export function section(random: SeededRandom, id: number, fields: readonly Field[], isEnd: boolean): Buffer[] {
  const bytes = Buffer.concat(fields.map((field) => block([field], random.below(3) === 0)));
  const pieces = random.below(4) === 0 ? cutAt(random, bytes, 1 + random.below(4)) : [bytes];
  return pieces.map((piece, index) => {
    const flags = index === pieces.length - 1 ? FLAG.endHeaders : 0;
    if (index > 0) return frame(FRAME.continuation, flags, id, piece);
    return headersFrame(random, id, flags | (isEnd ? FLAG.endStream : 0), piece);
  });
}

function headersFrame(random: SeededRandom, id: number, flags: number, piece: Buffer): Buffer {
  const padding = random.below(5) === 0 ? random.below(40) : -1;
  const hasPriority = random.below(5) === 0;
  const parts = [piece];
  if (hasPriority) parts.unshift(uint32(0), Buffer.from([random.below(256)]));
  if (padding !== -1) parts.unshift(Buffer.from([padding]));
  if (padding > 0) parts.push(Buffer.alloc(padding));
  const all = flags | (hasPriority ? FLAG.priority : 0) | (padding === -1 ? 0 : FLAG.padded);
  return frame(FRAME.headers, all, id, Buffer.concat(parts));
}

function contentFrame(random: SeededRandom, id: number, content: string, isEnd: boolean): Buffer {
  const bytes = Buffer.from(content, "latin1");
  const flags = isEnd ? FLAG.endStream : 0;
  if (random.below(4) > 0) return frame(FRAME.data, flags, id, bytes);
  const padding = random.below(60);
  return frame(FRAME.data, flags | FLAG.padded, id, Buffer.concat([Buffer.from([padding]), bytes, Buffer.alloc(padding)]));
}

/** Bytes in so many pieces more, some of them maybe empty. */
export function cutAt(random: SeededRandom, bytes: Buffer, cuts: number): Buffer[] {
  const places = Array.from({ length: cuts }, () => random.below(bytes.length + 1)).sort((left, right) => left - right);
  return [0, ...places].map((from, index) => bytes.subarray(from, places[index] ?? bytes.length));
}

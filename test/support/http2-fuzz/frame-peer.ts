// One end of an HTTP/2 connection that is spoken frame by frame, over any byte stream: remembers what came, reads header sections, and waits for what is due.
import type { Duplex } from "node:stream";
import { HpackDecoder } from "../../../sidecar/http2/hpack/decoder.ts";
import { FLAG, FRAME, type Frame, framesIn, PREFACE } from "./frame-text.ts";

/** What came on one stream. */
export interface Heard {
  /** Header sections in order, names and values flat. */
  readonly sections: string[][];
  body: string;
  isEnded: boolean;
  /** Code of RST_STREAM, or -1. */
  resetCode: number;
}

/** An end. */
export class FramePeer {
  readonly stream: Duplex;
  /** Code of the last GOAWAY that is not NO_ERROR, or -1; and of any. */
  failure = -1;
  goawayCode = -1;
  /** What came that no HTTP/2 endpoint may send; empty while nothing did. */
  fault = "";
  /** True once the other side has ended or broken off. */
  isClosed = false;
  readonly heard = new Map<number, Heard>();
  /** Called for each frame behind the preface. */
  onFrame: (frame: Frame) => void = () => {};
  readonly #decoder = new HpackDecoder();
  #rest: Buffer = Buffer.alloc(0);
  #needsPreface: boolean;
  #section: { id: number; flags: number; parts: Buffer[] } | null = null;
  readonly #waiting = new Set<() => void>();

  /** `isServer`: the other side begins with a client's preface. */
  constructor(stream: Duplex, isServer = false) {
    this.stream = stream;
    this.#needsPreface = isServer;
    stream.on("data", (chunk: Buffer) => this.#take(chunk));
    stream.on("error", () => {});
    for (const event of ["end", "close"])
      stream.on(event, () => {
        this.isClosed = true;
        this.#look();
      });
  }

  /** Writes bytes, as long as anybody is there. */
  send(...frames: readonly Buffer[]): void {
    if (!this.stream.destroyed && this.stream.writable) this.stream.write(Buffer.concat(frames));
  }

  /** Resolves when `holds`, or after `waitMs`; gives the last answer. */
  until(holds: () => boolean, waitMs = 4_000): Promise<boolean> {
    return new Promise((resolve) => {
      const look = () => {
        if (!holds()) return;
        done();
      };
      const done = () => {
        clearTimeout(timer);
        this.#waiting.delete(look);
        resolve(holds());
      };
      const timer = setTimeout(done, waitMs);
      this.#waiting.add(look);
      look();
    });
  }

  /** What came on a stream so far. */
  on(id: number): Heard {
    let heard = this.heard.get(id);
    if (heard === undefined) {
      heard = { sections: [], body: "", isEnded: false, resetCode: -1 };
      this.heard.set(id, heard);
    }
    return heard;
  }

  #take(chunk: Buffer): void {
    let bytes = Buffer.concat([this.#rest, chunk]);
    if (this.#needsPreface && bytes.length >= PREFACE.length) {
      this.#needsPreface = false;
      bytes = bytes.subarray(PREFACE.length);
    }
    if (this.#needsPreface) this.#rest = bytes;
    else {
      const { frames, rest } = framesIn(bytes);
      this.#rest = rest;
      for (const found of frames) this.#read(found);
    }
    this.#look();
  }

  #read(found: Frame): void {
    const { type, flags, id, payload } = found;
    if (type === FRAME.headers) this.#section = { id, flags, parts: [] };
    if (type === FRAME.headers || type === FRAME.continuation) this.#onSection(flags, payload);
    else if (type === FRAME.data) this.on(id).body += payload.toString("latin1");
    else if (type === FRAME.reset) this.on(id).resetCode = payload.readUInt32BE(0);
    else if (type === FRAME.goaway) {
      this.goawayCode = payload.readUInt32BE(4);
      if (this.goawayCode !== 0) this.failure = this.goawayCode;
    }
    if (type === FRAME.data && (flags & FLAG.endStream) !== 0) this.on(id).isEnded = true;
    this.onFrame(found);
  }

  #onSection(flags: number, payload: Buffer): void {
    const section = this.#section;
    if (section === null) return this.#wrong("CONTINUATION without HEADERS");
    section.parts.push(payload);
    if ((flags & FLAG.endHeaders) === 0) return;
    this.#section = null;
    const bytes = Buffer.concat(section.parts);
    const fields: string[] = [];
    const isRead = this.#decoder.decode(bytes, 0, bytes.length, { add: ({ name, value }) => void fields.push(name, value) });
    if (!isRead) return this.#wrong(`a header section that is not HPACK: ${this.#decoder.flaw}`);
    const heard = this.on(section.id);
    heard.sections.push(fields);
    if ((section.flags & FLAG.endStream) !== 0) heard.isEnded = true;
  }

  #wrong(what: string): void {
    this.fault ||= what;
  }

  #look(): void {
    for (const look of [...this.#waiting]) look();
  }
}

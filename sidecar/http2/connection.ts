// One HTTP/2 connection, whichever side of it we are: frames in to the streams, frames of the streams out, and what is of the connection as a whole: settings,
// pings, windows, errors (RFC 9113). What a head or a GOAWAY means depends on the side and is its subclass's; what is done with a stream is its taker's.
//
// HOT PATH: per frame a few comparisons and one look-up of the stream; what is sent is written in place into the outbox. No closure, no allocation but for heads.
import type { Duplex } from "node:stream";
import type { FieldView, HeadEdit } from "../fields.ts";
import { resetStream } from "../transport/reset.ts";
import { SocketWire, type WireOwner } from "../transport/wire.ts";
import { FLOOD, type Flood, FloodGuard } from "./flood-guard.ts";
import { type FrameOwner, FrameReader } from "./frame-reader.ts";
import { FrameWriter } from "./frame-writer.ts";
import {
  DEFAULT_WINDOW_BYTES,
  FLAG,
  FRAME,
  H2_ERROR,
  MAX_31_BIT,
  MAX_FRAME_BYTES,
  PING_BYTES,
  PRIORITY_BYTES,
  read31,
  read32,
  SETTING,
  SETTING_BYTES,
} from "./frames.ts";
import { HeadSection } from "./head-section.ts";
import { HeadWriter } from "./head-writer.ts";
import { HeaderList } from "./header-list.ts";
import { HpackDecoder } from "./hpack/decoder.ts";
import { HpackEncoder } from "./hpack/encoder.ts";
import { Outbox } from "./outbox.ts";
import { CONNECTION_WINDOW_BYTES, ReceiveWindow } from "./receive-window.ts";
import { SendQueue } from "./send-queue.ts";
import type { Stream } from "./stream.ts";
import { StreamTable } from "./stream-table.ts";

/** A peer that does not read is not read either, once this much waits for it, bytes. */
const MAX_UNREAD_BYTES = 512 * 1024;
/** Settings in one frame: nobody has so many. Each may touch all streams, so that a frame of thousands would be a flood of its own. */
const MAX_SETTINGS = 32;
/** How long a connection that was told to go may take to close, ms. */
const LINGER_MS = 1_000;

/** What every connection needs of its engine. */
export interface ConnectionEngine {
  /** The instant of the last sweep, monotonic ms: exact enough to tell who has waited for seconds. */
  readonly nowMonoMs: number;
}

/** A connection. */
export abstract class Http2Connection implements WireOwner, FrameOwner {
  readonly wire: SocketWire;
  readonly streams = new StreamTable();
  readonly heads: HeadWriter;
  readonly frames: FrameWriter;
  /** True once the connection is given up: nothing that comes matters any more. */
  isOver = false;
  /** True once nothing new should be begun on it. */
  isLeaving = false;
  /** What the peer lets us send on the connection, and on a new stream. */
  sendWindow = DEFAULT_WINDOW_BYTES;
  peerWindowBytes = DEFAULT_WINDOW_BYTES;
  /** Streams that the peer lets us open. */
  peerMaxStreams = Number.POSITIVE_INFINITY;
  /** True once its SETTINGS have come. */
  hasPeerSettings = false;
  /** When bytes last came, monotonic ms of the sweep. */
  heardMonoMs: number;
  protected readonly engine: ConnectionEngine;
  protected readonly guard: FloodGuard;
  readonly #outbox: Outbox;
  readonly #reader: FrameReader;
  readonly #decoder = new HpackDecoder();
  readonly #encoder = new HpackEncoder();
  readonly #window = new ReceiveWindow((bytes) => this.#giveBack(bytes));
  readonly #section = new HeadSection();
  readonly #queue = new SendQueue();
  /** Whose DATA is coming; null for none that is wanted. */
  #dataStream: Stream | null = null;
  /** What {@link checkUnfinished} saw come without an end, and since when. */
  #unfinished = 0;
  #unfinishedMonoMs = 0;
  /** When it was given up. */
  #overMonoMs = 0;

  /** `atWork`: the streams on which something is going on, where that is not all that are open. */
  protected constructor(stream: Duplex, engine: ConnectionEngine, atWork: { readonly size: number } | null) {
    this.engine = engine;
    this.heardMonoMs = engine.nowMonoMs;
    this.guard = new FloodGuard(engine);
    this.wire = new SocketWire(stream, this);
    this.#outbox = new Outbox(this.wire, atWork ?? this.streams, () => this.onDrain());
    this.heads = new HeadWriter(this.#encoder, this.#outbox);
    this.frames = new FrameWriter(this.#outbox);
    this.#reader = new FrameReader(this);
  }

  get nowMonoMs(): number {
    return this.engine.nowMonoMs;
  }

  // What differs between the two sides.

  /** A header section came. */
  protected abstract onHead(id: number, head: HeaderList, isEnd: boolean): void;
  /** True for a stream that was never opened: frames on it are errors of the connection (RFC 9113 section 5.1). */
  protected abstract isIdle(id: number): boolean;
  protected abstract onGoaway(lastId: number, code: number, detail: string): void;
  protected abstract onSettings(): void;
  protected abstract onPong(): void;
  /** The connection broke a rule and is being closed; for the log. */
  protected abstract onFlaw(code: number, detail: string, flood: string | null): void;
  /** A stream was reset by its peer, before it was taken from its taker. */
  protected abstract onPeerReset(stream: Stream): void;
  /** A stream is over. */
  protected abstract onStreamOver(): void;

  // Bytes in.

  onBytes(bytes: Buffer, start: number, end: number): void {
    if (this.isOver) return;
    this.heardMonoMs = this.engine.nowMonoMs;
    this.take(bytes, start, end);
  }

  /** Takes what was read. */
  protected take(bytes: Buffer, start: number, end: number): void {
    this.read(bytes, start, end);
  }

  protected read(bytes: Buffer, start: number, end: number): void {
    this.#reader.read(bytes, start, end);
  }

  onDataFrame(id: number, length: number): void {
    this.#dataStream = null;
    if (this.#section.id !== 0) return this.fail(H2_ERROR.protocolError, "DATA within a header section");
    if (!this.#window.take(length)) return this.fail(H2_ERROR.flowControlError, "DATA beyond the connection's window");
    const stream = this.streams.get(id);
    if (stream === null) return this.#onStray(id);
    if (stream.isRemoteEnded || !stream.hasHead) return this.failStream(stream, H2_ERROR.streamClosed, "DATA where none is due");
    stream.receiveWindow -= length;
    if (stream.receiveWindow < 0) return this.failStream(stream, H2_ERROR.flowControlError, "DATA beyond the stream's window");
    this.#dataStream = stream;
  }

  onPadding(length: number): void {
    this.#dataStream?.credit(length);
  }

  onData(bytes: Buffer, start: number, end: number, isEnd: boolean): void {
    const stream = this.#dataStream;
    if (stream === null) return;
    if (start === end && !isEnd) return this.#onEmptyData();
    stream.receivedBytes += end - start;
    const { expectedBytes, receivedBytes } = stream;
    if (expectedBytes !== -1 && (receivedBytes > expectedBytes || (isEnd && receivedBytes < expectedBytes)))
      return this.failStream(stream, H2_ERROR.protocolError, "content-length disagrees with the content");
    stream.movedMonoMs = this.engine.nowMonoMs;
    const { taker } = stream;
    if (isEnd) {
      this.#dataStream = null;
      stream.endRemote();
    }
    if (taker !== null) taker.onData(stream, bytes, start, end, isEnd);
  }

  /** Says nothing, and goes no further: the next hop would take it for our flood. */
  #onEmptyData(): void {
    if (!this.guard.spend(FLOOD.emptyData)) this.flooded(FLOOD.emptyData);
  }

  onFrameFlaw(code: number, detail: string): void {
    this.fail(code, detail);
  }

  onFrame(type: number, flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    if (this.#section.id !== 0 && (type !== FRAME.continuation || id !== this.#section.id))
      return this.fail(H2_ERROR.protocolError, "another frame within a header section");
    if (!this.hasPeerSettings && (type !== FRAME.settings || (flags & FLAG.ack) !== 0))
      return this.fail(H2_ERROR.protocolError, "SETTINGS are not the first frame");
    switch (type) {
      case FRAME.headers:
        return this.#onHeaders(flags, id, bytes, start, end);
      case FRAME.continuation:
        return this.#onContinuation(flags, id, bytes, start, end);
      case FRAME.windowUpdate:
        return this.#onWindowUpdate(id, bytes, start, end);
      case FRAME.reset:
        return this.#onReset(id, bytes, start, end);
      case FRAME.settings:
        return this.#onSettings(flags, id, bytes, start, end);
      case FRAME.ping:
        return this.#onPing(flags, id, bytes, start, end);
      case FRAME.goaway:
        return this.#onGoaway(id, bytes, start, end);
      case FRAME.priority:
        return this.#onPriority(id, end - start);
      case FRAME.pushPromise:
        return this.fail(H2_ERROR.protocolError, "PUSH_PROMISE");
      default: // Unknown types are ignored (RFC 9113 section 5.5), but not for ever.
        if (!this.guard.spend(FLOOD.stray)) this.flooded(FLOOD.stray);
    }
  }

  #onHeaders(flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    if (id === 0) return this.fail(H2_ERROR.protocolError, "HEADERS without a stream");
    let from = start;
    let to = end;
    const isPadded = (flags & FLAG.padded) !== 0;
    const mandatoryBytes = (isPadded ? 1 : 0) + ((flags & FLAG.priority) !== 0 ? PRIORITY_BYTES : 0);
    if (mandatoryBytes > to - from) return this.fail(H2_ERROR.frameSizeError, "HEADERS too short for their flags");
    if (isPadded) to -= bytes[from] as number;
    from += mandatoryBytes;
    if (from > to) return this.fail(H2_ERROR.protocolError, "HEADERS shorter than their padding");
    if ((flags & FLAG.endHeaders) !== 0) return this.#takeSection(id, flags, bytes, from, to);
    this.#section.begin(id, flags, bytes, from, to);
  }

  #onContinuation(flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    const section = this.#section;
    if (section.id === 0) return this.fail(H2_ERROR.protocolError, "CONTINUATION without HEADERS");
    if (!section.add(bytes, start, end))
      return this.fail(H2_ERROR.enhanceYourCalm, "a header section of too many octets or frames", "continuation");
    if ((flags & FLAG.endHeaders) === 0) return;
    const whole = section.end();
    this.#takeSection(id, section.flags, whole, 0, whole.length);
  }

  #takeSection(id: number, flags: number, bytes: Buffer, start: number, end: number): void {
    const head = new HeaderList();
    if (!this.#decoder.decode(bytes, start, end, head)) return this.fail(H2_ERROR.compressionError, this.#decoder.flaw);
    if (head.isAbsurd) return this.fail(H2_ERROR.enhanceYourCalm, "a header section of thousands of fields", "hpack_bomb");
    this.onHead(id, head, (flags & FLAG.endStream) !== 0);
  }

  /** The trailer section of a stream whose head has come. */
  protected takeTrailers(stream: Stream, trailers: HeaderList, isEnd: boolean): void {
    if (stream.isRemoteEnded) return this.failStream(stream, H2_ERROR.streamClosed, "HEADERS behind the end of the stream");
    const flaw = isEnd ? trailers.flawAsTrailers : "a second head that does not end the stream";
    if (flaw !== null) return this.failStream(stream, H2_ERROR.protocolError, flaw);
    if (stream.expectedBytes !== -1 && stream.receivedBytes !== stream.expectedBytes)
      return this.failStream(stream, H2_ERROR.protocolError, "content-length disagrees with the content");
    stream.movedMonoMs = this.engine.nowMonoMs;
    const { taker } = stream;
    stream.endRemote();
    taker?.onTrailers(stream, trailers);
  }

  /** A frame on a stream that is over: what crossed our reset on the way is dropped. */
  #onStray(id: number): void {
    if (id === 0 || this.isIdle(id)) return this.fail(H2_ERROR.protocolError, `a frame on stream ${id}, which was never opened`);
    if (!this.guard.spend(FLOOD.stray)) this.flooded(FLOOD.stray);
  }

  protected onStrayHead(id: number): void {
    this.#onStray(id);
  }

  #onWindowUpdate(id: number, bytes: Buffer, start: number, end: number): void {
    if (end - start !== 4) return this.fail(H2_ERROR.frameSizeError, "WINDOW_UPDATE of another size");
    if (!this.guard.spend(FLOOD.windowUpdate)) return this.flooded(FLOOD.windowUpdate);
    const increment = read31(bytes, start);
    if (id === 0) {
      this.sendWindow += increment;
      if (increment === 0) return this.fail(H2_ERROR.protocolError, "WINDOW_UPDATE of nothing");
      if (this.sendWindow > MAX_31_BIT) return this.fail(H2_ERROR.flowControlError, "the connection's window overflows");
      return this.pump();
    }
    const stream = this.streams.get(id);
    if (stream === null) return this.isIdle(id) ? this.#onStray(id) : undefined;
    stream.sendWindow += increment;
    if (increment === 0) return this.failStream(stream, H2_ERROR.protocolError, "WINDOW_UPDATE of nothing");
    if (stream.sendWindow > MAX_31_BIT) return this.failStream(stream, H2_ERROR.flowControlError, "the stream's window overflows");
    if (!stream.isPending) return;
    this.queue(stream);
    this.pump();
  }

  #onReset(id: number, bytes: Buffer, start: number, end: number): void {
    if (end - start !== 4) return this.fail(H2_ERROR.frameSizeError, "RST_STREAM of another size");
    const stream = this.streams.get(id);
    if (stream === null) return this.#onStray(id);
    const code = read32(bytes, start);
    this.onPeerReset(stream);
    if (this.isOver) return;
    const { taker } = stream;
    stream.abandon();
    taker?.onReset(stream, code, code === H2_ERROR.refusedStream);
  }

  #onSettings(flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    const isAck = (flags & FLAG.ack) !== 0;
    if (id !== 0) return this.fail(H2_ERROR.protocolError, "SETTINGS on a stream");
    if ((end - start) % SETTING_BYTES !== 0 || (isAck && end > start))
      return this.fail(H2_ERROR.frameSizeError, "SETTINGS of another size");
    if (!this.guard.spend(FLOOD.settings) || end - start > MAX_SETTINGS * SETTING_BYTES) return this.flooded(FLOOD.settings);
    if (isAck) return;
    for (let at = start; at < end && !this.isOver; at += SETTING_BYTES)
      this.#applySetting(((bytes[at] as number) << 8) | (bytes[at + 1] as number), read32(bytes, at + 2));
    if (this.isOver) return;
    this.hasPeerSettings = true;
    this.frames.settingsAck();
    this.onSettings();
    this.pump();
  }

  #applySetting(setting: number, value: number): void {
    switch (setting) {
      case SETTING.headerTableSize:
        return this.#encoder.setPeerTableBytes(value);
      case SETTING.enablePush:
      case SETTING.enableConnectProtocol:
        if (value > 1) this.fail(H2_ERROR.protocolError, "a setting that is a flag is neither 0 nor 1");
        return;
      case SETTING.maxConcurrentStreams:
        this.peerMaxStreams = value;
        return;
      case SETTING.initialWindowSize:
        if (value > MAX_31_BIT) return this.fail(H2_ERROR.flowControlError, "SETTINGS_INITIAL_WINDOW_SIZE is too large");
        return this.#resizeWindows(value);
      case SETTING.maxFrameSize:
        if (value < MAX_FRAME_BYTES || value > 0xffffff) this.fail(H2_ERROR.protocolError, "SETTINGS_MAX_FRAME_SIZE is out of bounds");
        return;
    }
  }

  /** RFC 9113 section 6.9.2: also of the streams that are open. */
  #resizeWindows(bytes: number): void {
    const change = bytes - this.peerWindowBytes;
    this.peerWindowBytes = bytes;
    for (const stream of this.streams.all()) {
      stream.sendWindow += change;
      if (stream.sendWindow > MAX_31_BIT) return this.fail(H2_ERROR.flowControlError, "a stream's window overflows");
      if (stream.isPending) this.queue(stream);
    }
  }

  #onPing(flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    if (id !== 0) return this.fail(H2_ERROR.protocolError, "PING on a stream");
    if (end - start !== PING_BYTES) return this.fail(H2_ERROR.frameSizeError, "PING of another size");
    if (!this.guard.spend(FLOOD.ping)) return this.flooded(FLOOD.ping);
    if ((flags & FLAG.ack) !== 0) return this.onPong();
    this.frames.pong(bytes, start);
  }

  #onGoaway(id: number, bytes: Buffer, start: number, end: number): void {
    if (id !== 0) return this.fail(H2_ERROR.protocolError, "GOAWAY on a stream");
    if (end - start < 8) return this.fail(H2_ERROR.frameSizeError, "GOAWAY of another size");
    if (!this.guard.spend(FLOOD.goaway)) return this.flooded(FLOOD.goaway);
    this.onGoaway(read31(bytes, start), read32(bytes, start + 4), bytes.toString("latin1", start + 8, Math.min(end, start + 108)));
  }

  #onPriority(id: number, length: number): void {
    if (id === 0) return this.fail(H2_ERROR.protocolError, "PRIORITY without a stream");
    if (length !== PRIORITY_BYTES) return this.fail(H2_ERROR.frameSizeError, "PRIORITY of another size");
    if (!this.guard.spend(FLOOD.priority)) this.flooded(FLOOD.priority);
  }

  // Frames out.

  /** True while nothing but heads and control frames should be written: the rest waits in its streams. */
  get isBlocked(): boolean {
    return this.#outbox.isBlocked || !this.wire.isWritable;
  }

  /** Writes DATA of a stream: within both windows, which the caller has looked at. */
  writeData(stream: Stream, bytes: Buffer, start: number, end: number, isEnd: boolean): void {
    this.frames.data(stream.id, bytes, start, end, isEnd);
    stream.sendWindow -= end - start;
    this.sendWindow -= end - start;
    this.guard.earnByData();
  }

  writeTrailers(stream: Stream, fields: FieldView, edit: HeadEdit): void {
    this.heads.begin(fields, edit, 0);
    this.heads.fields(fields, edit, 0);
    this.heads.end(stream.id, true);
  }

  writeReset(id: number, code: number): void {
    this.frames.reset(id, code);
  }

  /** What we say first. */
  protected greet(preface: Buffer, settings: readonly (readonly [number, number])[]): void {
    this.frames.preface(preface, settings);
    this.frames.windowUpdate(0, CONNECTION_WINDOW_BYTES - DEFAULT_WINDOW_BYTES);
  }

  protected flush(): void {
    this.#outbox.flush();
  }

  // Whose turn it is to send.

  /** Puts a stream with something to send into the queue. */
  queue(stream: Stream): void {
    this.#queue.push(stream);
  }

  /** Lets the streams send what waits, a frame each in turn. */
  protected pump(): void {
    const queue = this.#queue;
    while (queue.first !== null && !this.isBlocked) {
      if (this.sendWindow <= 0 && queue.first.pendingBytes > 0) return;
      const stream = queue.take();
      if (stream.isPending && stream.sendPending(MAX_FRAME_BYTES)) queue.push(stream);
    }
  }

  onDrain(): void {
    this.wire.resume();
    this.pump();
  }

  /** Stops reading a peer that does not read. */
  protected pauseWhenUnread(): void {
    if (this.#outbox.pendingBytes > MAX_UNREAD_BYTES) this.wire.pause();
  }

  // Windows.

  /** Bytes that came here wait for whoever they go to. */
  hold(bytes: number): void {
    this.#window.hold(bytes);
  }

  release(bytes: number): void {
    this.#window.release(bytes);
  }

  #giveBack(bytes: number): void {
    if (!this.isOver) this.frames.windowUpdate(0, bytes);
  }

  // Ends.

  /** A rule was broken on one stream only: it is reset. */
  failStream(stream: Stream, code: number, detail: string): void {
    if (this.#dataStream === stream) this.#dataStream = null;
    const { taker } = stream;
    stream.reset(code);
    if (!this.guard.spend(FLOOD.provokedReset)) this.flooded(FLOOD.provokedReset);
    this.onStreamFlaw(stream, code, detail);
    taker?.onReset(stream, code, false);
  }

  /** For the log. */
  protected abstract onStreamFlaw(stream: Stream, code: number, detail: string): void;

  protected flooded(kind: Flood): void {
    this.fail(H2_ERROR.enhanceYourCalm, `too many frames of one kind: ${FloodGuard.nameOf(kind)}`, FloodGuard.nameOf(kind));
  }

  /** A rule was broken that the connection rests on: it is told and closed. */
  fail(code: number, detail: string, flood: string | null = null): void {
    if (this.isOver) return;
    this.onFlaw(code, detail, flood);
    this.frames.goaway(this.lastTakenId, code);
    this.end();
  }

  /** The highest stream of the peer's that was looked at. */
  protected abstract get lastTakenId(): number;

  /** Sends what is written and the end, lets its streams know, and waits a moment for the peer's end. */
  protected end(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.#overMonoMs = this.engine.nowMonoMs;
    this.loseStreams();
    this.#outbox.end();
    this.wire.resume();
  }

  /** Ends it now. */
  destroy(): void {
    this.isOver = true;
    this.loseStreams();
    this.flush();
    this.wire.stream.destroy();
  }

  protected loseStreams(): void {
    for (const stream of this.streams.all()) {
      const { taker } = stream;
      stream.abandon();
      taker?.onReset(stream, H2_ERROR.cancel, false);
    }
  }

  /** A stream is over. */
  forget(stream: Stream): void {
    this.streams.remove(stream);
    this.onStreamOver();
  }

  /** HTTP/2 knows no half-open connections: a peer that has ended is gone. */
  onEnd(): void {
    if (this.isOver) this.wire.stream.destroy();
    else this.end();
  }

  onClose(): void {
    this.isOver = true;
    this.loseStreams();
  }

  /** Called by the sweep: a frame or a header section that is not whole after `ms` holds up all that is behind it. */
  protected checkUnfinished(ms: number): void {
    const now = this.engine.nowMonoMs;
    const found = this.#section.id === 0 ? this.#reader.unfinished : -this.#section.count;
    if (found !== this.#unfinished) {
      this.#unfinished = found;
      this.#unfinishedMonoMs = now;
    } else if (found !== 0 && now - this.#unfinishedMonoMs >= ms)
      this.fail(H2_ERROR.enhanceYourCalm, "a frame or header section that does not end", "slow_frame");
  }

  /** Called by the sweep: a peer that was told to go, and does not, is cut off. */
  protected checkLinger(): void {
    if (this.engine.nowMonoMs - this.#overMonoMs >= LINGER_MS) resetStream(this.wire.stream);
  }
}

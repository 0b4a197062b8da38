// Runs HTTP/2 cases through an engine with nothing around it: clients and apps at the ends of connections in memory, the mesh's own header hygiene in between,
// and a record of what each of them saw. Cases of a batch run side by side; those that do nothing wrong share the connections to the app.
import type { Engine, HttpHandler, Upstream } from "../../../sidecar/engine.ts";
import type { ConnectionContext, Exchange } from "../../../sidecar/exchange.ts";
import { trailerFields } from "../../../sidecar/policy/header-hygiene.ts";
import type { FakeClock } from "../fake-clock.ts";
import { tokensIn } from "../http1-fuzz/fuzz-case.ts";
import { beginMarked, passAnswer } from "../http1-fuzz/passage.ts";
import { MemorySocket } from "../memory-socket.ts";
import { createSeededRandom, type SeededRandom } from "../seeded-random.ts";
import { FramePeer, type Heard } from "./frame-peer.ts";
import { FRAME, type Frame, settings, windowUpdate } from "./frame-text.ts";
import { bodyModeOf, type FuzzCase, type FuzzExchange, sharesPool } from "./fuzz-case.ts";
import { heldBytes, takeHeldBytes } from "./held-bytes.ts";
import { messageFrames, section } from "./message-frames.ts";
import { mutate } from "./mutate.ts";

/** What came of one case in one engine. */
export interface CaseRecord {
  readonly fuzzCase: FuzzCase;
  /** What the client heard, by stream, until it left. */
  readonly heard: ReadonlyMap<number, Heard>;
  /** Code of its GOAWAY other than NO_ERROR, or -1. */
  readonly failure: number;
  readonly isClosed: boolean;
  /** Requests that came to the app, by token; all of those that came more than once. */
  readonly arrived: Map<string, Heard[]>;
  /** The details of refusals: of no exchange, or of one. */
  readonly refusals: string[];
  begun: number;
  finished: number;
}

/** One engine under test. */
export interface FuzzWorld {
  readonly name: string;
  /** Runs the cases; gives their records, in order, when nothing moves any more and all clients have left. */
  run(cases: readonly FuzzCase[]): Promise<CaseRecord[]>;
  /** What is wrong with the engine itself, whatever it was sent. */
  takeFaults(): string[];
  /** Closes the engine; gives the connections to apps that it left open. */
  close(): Promise<number>;
}

const QUIET_TURNS = 6;
const MAX_TURNS = 100_000;
/** Real time that held bytes are given to leave, in waits of so many ms. */
const HELD_WAIT_MS = 5;
const MAX_HELD_WAITS = 40;
/** Time given for bodies that are held for a moment, and for lingering ends, ms. */
const HOLD_MS = 10;
const LINGER_MS = 20_000;

/** A request on one of the app's streams. */
interface AppStream {
  readonly heard: Heard;
  isAnswered: boolean;
  /** The app has broken it off, or may have. */
  isGivenUp: boolean;
}

/** Puts an engine into a world. */
export function createFuzzWorld(name: string, engine: Engine, clock: FakeClock): FuzzWorld {
  let activity = 0;
  let faults: string[] = [];
  let records = new Map<number, CaseRecord>();
  let exchanges = new Map<string, { readonly fuzzCase: FuzzCase; readonly exchange: FuzzExchange }>();
  const apps = new Set<AppEnd>();
  const move = () => {
    activity += 1;
  };

  /** The app's side of one connection. */
  class AppEnd {
    readonly peer: FramePeer;
    readonly streams = new Map<number, AppStream>();
    readonly #owner: FuzzCase;

    constructor(stream: MemorySocket, owner: FuzzCase) {
      this.#owner = owner;
      this.peer = new FramePeer(stream, true);
      this.peer.onFrame = (found) => this.#onFrame(found);
      this.peer.send(settings([4, owner.appWindow]));
      stream.on("end", () => stream.end());
      stream.on("close", () => apps.delete(this));
    }

    /** Requests that are neither whole nor given up. */
    get open(): string[] {
      const open = [...this.streams].filter(([, { heard, isGivenUp }]) => !heard.isEnded && heard.resetCode === -1 && !isGivenUp);
      return open.map(
        ([id, { heard }]) => `${pathOf(heard)} on stream ${id}, case ${this.#owner.number} ${this.#owner.mutation?.name ?? ""}`,
      );
    }

    #onFrame({ type, id, payload }: Frame): void {
      if (type === FRAME.data && payload.length > 0) this.peer.send(windowUpdate(0, payload.length), windowUpdate(id, payload.length));
      if (type === FRAME.headers || type === FRAME.data || type === FRAME.continuation) this.#look(id);
    }

    #look(id: number): void {
      const heard = this.peer.on(id);
      const path = pathOf(heard);
      if (path === null) return;
      let stream = this.streams.get(id);
      if (stream === undefined) {
        stream = { heard, isAnswered: false, isGivenUp: this.#owner.mutation?.side === "app" };
        this.streams.set(id, stream);
        this.#note(path, heard);
      }
      const found = exchanges.get(tokensIn(path)[0]?.token ?? "");
      if (stream.isAnswered || (found?.exchange.answer.at !== "head" && !heard.isEnded)) return;
      stream.isAnswered = true;
      if ((found?.exchange.answer.resetAfter ?? -1) !== -1) stream.isGivenUp = true;
      const method = heard.sections[0]?.[1] ?? "";
      if (found === undefined || (found.exchange.method === "HEAD") !== (method === "HEAD")) this.#answerPlainly(id);
      else this.#answer(id, found.fuzzCase, found.exchange);
    }

    #note(path: string, heard: Heard): void {
      for (const { token, number } of tokensIn(path)) {
        const record = records.get(number);
        if (record === undefined) continue;
        record.arrived.set(token, [...(record.arrived.get(token) ?? []), heard]);
      }
    }

    #answerPlainly(id: number): void {
      this.peer.send(...section(createSeededRandom(0), id, [[":status", "204"]], true));
    }

    #answer(id: number, fuzzCase: FuzzCase, { answer, id: index }: FuzzExchange): void {
      const random = createSeededRandom(fuzzCase.answerSeed + index);
      const interims = Array.from({ length: answer.interims }, () =>
        section(
          random,
          id,
          [
            [":status", "103"],
            ["f-hint", "h"],
          ],
          false,
        ),
      );
      let frames = [...interims, ...messageFrames(random, id, [[":status", answer.status]], answer)].flat();
      if (this.#owner.mutation?.side === "app" && random.below(2) === 0) frames = mutate(random, this.#owner.mutation.name, frames);
      for (const piece of piecesOf(random, frames)) this.peer.send(piece);
    }
  }

  function upstreamOf(fuzzCase: FuzzCase): Upstream {
    return {
      key: sharesPool(fuzzCase) ? "app" : `app ${fuzzCase.number}`,
      address: "app:80",
      dial(done) {
        const [ours, theirs] = MemorySocket.pair(move);
        apps.add(new AppEnd(theirs, fuzzCase));
        setImmediate(() => {
          move();
          done(null, { kind: "plain", stream: ours });
        });
      },
    };
  }

  function handlerFor(record: CaseRecord): HttpHandler {
    const { fuzzCase } = record;
    const upstream = upstreamOf(fuzzCase);
    const seen = new Set<Exchange>();
    return {
      request(connection, head, decide) {
        const exchange = beginMarked(connection, head, "");
        exchange.endpointAddress = "app:80";
        record.begun += 1;
        const decision = { kind: "forward", upstream, body: bodyModeOf(fuzzCase) } as const;
        // At once, or as when a look-up takes its time.
        if (fuzzCase.number % 5 === 0) setImmediate(() => decide(exchange, decision));
        else decide(exchange, decision);
      },
      checkBody: () => null,
      seal: () => null,
      another: () => null,
      retryAnswer: () => null,
      response(exchange, status, fields) {
        exchange.status = status;
        return passAnswer(fields);
      },
      trailers: trailerFields,
      malformed: (_connection, refusal) => void record.refusals.push(refusal.detail),
      flooded: () => {},
      finish(exchange) {
        if (seen.has(exchange)) faults.push(`${name}: an exchange of case ${fuzzCase.number} was finished twice`);
        seen.add(exchange);
        record.finished += 1;
        if (exchange.refusal !== null) record.refusals.push(exchange.refusal.detail);
      },
    };
  }

  function start(fuzzCase: FuzzCase): { readonly peer: FramePeer; readonly stream: MemorySocket } {
    const [stream, theirs] = MemorySocket.pair(move);
    const peer = new FramePeer(stream);
    peer.onFrame = ({ type, id, payload }) => {
      if (type === FRAME.data && payload.length > 0) peer.send(windowUpdate(0, payload.length), windowUpdate(id, payload.length));
    };
    const record: CaseRecord = {
      fuzzCase,
      heard: peer.heard,
      failure: -1,
      isClosed: false,
      arrived: new Map(),
      refusals: [],
      begun: 0,
      finished: 0,
    };
    records.set(fuzzCase.number, record);
    for (const exchange of fuzzCase.exchanges) exchanges.set(exchange.token, { fuzzCase, exchange });
    const context: ConnectionContext = {
      connectionId: fuzzCase.number,
      direction: "outbound",
      protocol: "http2",
      peer: { identity: null, address: "127.0.0.1", channelBinding: null, told: true },
      port: 80,
    };
    engine.serve({ stream: theirs, context, handler: handlerFor(record), tunnel: null });
    for (const piece of fuzzCase.pieces) stream.write(piece);
    return { peer, stream };
  }

  /** Resolves when nothing moves any more. */
  async function settle(): Promise<void> {
    let quiet = 0;
    for (let turns = 0; quiet < QUIET_TURNS; turns += 1) {
      const before = activity;
      await new Promise<void>((resolve) => setImmediate(resolve));
      quiet = activity === before ? quiet + 1 : 0;
      if (turns > MAX_TURNS) throw new Error(`${name}: still moving after ${MAX_TURNS} turns`);
    }
  }

  /** Everybody leaves; what is left then is left behind. */
  async function leave(clients: ReadonlyMap<FuzzCase, { readonly stream: MemorySocket }>): Promise<void> {
    for (const [{ leave: how }, { stream }] of clients) {
      if (how === "end") stream.end();
      else stream.destroy();
    }
    await settle();
    await clock.advanceAsync(LINGER_MS, LINGER_MS / 20);
    await settle();
    for (const { stream } of clients.values()) stream.destroy();
    await settle();
  }

  /** What is held goes with the last write to whoever reads it, which may be told of later than anything else moves. */
  async function settleHeld(): Promise<void> {
    for (let waits = 0; heldBytes() !== 0 && waits < MAX_HELD_WAITS; waits += 1) {
      await new Promise<void>((resolve) => setTimeout(resolve, HELD_WAIT_MS));
      await settle();
    }
  }

  function lookForLeaks(): void {
    for (const { fuzzCase, begun, finished } of records.values())
      if (begun !== finished) faults.push(`${name}: case ${fuzzCase.number} began ${begun} exchanges and finished ${finished}`);
    const held = takeHeldBytes();
    if (held !== 0) faults.push(`${name}: ${held} bytes are held for nobody`);
    for (const app of apps) {
      if (app.open.length > 0) faults.push(`${name}: requests are left open at the app: ${app.open.join(", ")}`);
      if (app.peer.fault !== "") faults.push(`${name}: the app was sent ${app.peer.fault}`);
      app.streams.clear();
      app.peer.heard.clear();
    }
  }

  return {
    name,
    async run(cases) {
      records = new Map();
      exchanges = new Map();
      const clients = new Map(cases.map((fuzzCase) => [fuzzCase, start(fuzzCase)]));
      await settle();
      await clock.advanceAsync(HOLD_MS, HOLD_MS);
      await settle();
      const found = cases.map((fuzzCase) => {
        const { peer } = clients.get(fuzzCase) as { peer: FramePeer };
        if (peer.fault !== "") faults.push(`${name}: the client of case ${fuzzCase.number} was sent ${peer.fault}`);
        const record = records.get(fuzzCase.number) as CaseRecord;
        return { ...record, heard: copyOf(peer.heard), failure: peer.failure, isClosed: peer.isClosed, refusals: [...record.refusals] };
      });
      await leave(clients);
      await settleHeld();
      lookForLeaks();
      return found;
    },
    takeFaults() {
      const taken = faults;
      faults = [];
      return taken;
    },
    async close() {
      engine.close();
      await settle();
      return apps.size;
    },
  };
}

/** What was heard when the client left. */
function copyOf(heard: ReadonlyMap<number, Heard>): Map<number, Heard> {
  return new Map([...heard].map(([id, each]) => [id, { ...each, sections: [...each.sections] }]));
}

/** The path of a request that came; null while its head has not. */
function pathOf({ sections }: Heard): string | null {
  const head = sections[0];
  if (head === undefined) return null;
  const at = head.indexOf(":path");
  return at === -1 ? "" : (head[at + 1] as string);
}

/** An answer in one write, in one for each frame, or cut anywhere. */
function piecesOf(random: SeededRandom, frames: readonly Buffer[]): Buffer[] {
  const whole = Buffer.concat(frames);
  switch (random.below(3)) {
    case 0:
      return [whole];
    case 1:
      return [...frames];
    default: {
      const pieces: Buffer[] = [];
      for (let from = 0; from < whole.length; ) {
        const to = from + 1 + random.below(Math.min(300, whole.length - from));
        pieces.push(whole.subarray(from, to));
        from = to;
      }
      return pieces;
    }
  }
}

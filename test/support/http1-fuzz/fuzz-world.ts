// Runs cases through an engine with nothing around it: clients and apps at the ends of connections in memory, the mesh's own header hygiene in between, and
// a record of what each of them saw. Cases of a batch run side by side and share the pool of connections to the app, so that whatever one leaves on a
// connection would meet another.
import type { FakeClock } from "../fake-clock.ts";
import type { Engine, HttpHandler, Upstream } from "../../../sidecar/engine.ts";
import type { ConnectionContext, Exchange } from "../../../sidecar/exchange.ts";
import { trailerFields } from "../../../sidecar/policy/header-hygiene.ts";
import { MemorySocket } from "../memory-socket.ts";
import { type AnswerScript, answerTo, type FuzzCase, holdsBodies } from "./fuzz-case.ts";
import { beginMarked, MARK, passAnswer } from "./passage.ts";
import { type ReferenceRequest, readOneRequest } from "./reference.ts";

/** What came of one case in one engine. */
export interface CaseRecord {
  readonly fuzzCase: FuzzCase;
  /** Everything the client was sent, latin1, until it left. */
  heard: string;
  /** How its connection stood when nothing moved any more, before it left. */
  state: "open" | "ended" | "reset";
  /** Requests that came to the app, by their place in the connection; the last of those that were sent again. */
  readonly arrived: Map<number, ReferenceRequest>;
  /** Bytes that came to the app in this client's name, whole requests or not. */
  sent: string;
  /** The details of refusals, in order: of no exchange, or of one. */
  readonly refusals: string[];
  begun: number;
  finished: number;
}

/** One engine under test. */
export interface FuzzWorld {
  readonly name: string;
  /** Runs the cases and gives their records, in order, when nothing moves any more and all clients have left. */
  run(cases: readonly FuzzCase[]): Promise<CaseRecord[]>;
  /** What is wrong with the engine itself: connections to the app left open by requests that are over, apps that were sent what is no request. */
  takeFaults(): string[];
  close(): void;
}

/** Turns of the event loop without any movement after which nothing will move any more. */
const QUIET_TURNS = 6;
/** Turns that a batch may take; more is an endless loop. */
const MAX_TURNS = 60_000;
/** Time given for lingering ends, ms. */
const LINGER_MS = 12_000;

/** Puts an engine into a world. `isStrict`: faults of the engine itself are told; otherwise only messages of one case in another's are, by the records. */
export function createFuzzWorld(name: string, engine: Engine, clock: FakeClock, isStrict: boolean): FuzzWorld {
  let activity = 0;
  let faults: string[] = [];
  let clients = new Map<number, CaseRecord>();
  const apps = new Set<AppEnd>();
  const move = () => {
    activity += 1;
  };
  const dial: Upstream["dial"] = (done) => {
    const [ours, theirs] = MemorySocket.pair(move);
    apps.add(new AppEnd(theirs));
    setImmediate(() => {
      move();
      done(null, { kind: "plain", stream: ours });
    });
  };

  /** The app's side of one connection. */
  class AppEnd {
    readonly stream: MemorySocket;
    /** What came and is no whole request yet. */
    #text = "";
    /** The request that is being answered before it is whole. */
    #isEarly = false;
    #isAnswering = false;

    constructor(stream: MemorySocket) {
      this.stream = stream;
      stream.on("data", (chunk: Buffer) => this.#onText(chunk.toString("latin1")));
      stream.on("error", () => {});
      stream.on("end", () => stream.end());
      stream.on("close", () => apps.delete(this));
    }

    get isIdle(): boolean {
      return this.#text === "" && !this.#isAnswering;
    }

    #onText(text: string): void {
      this.#text += text;
      this.#read();
    }

    #read(): void {
      if (this.#isAnswering || this.#text === "") return;
      const request = readOneRequest(this.#text);
      if (request === null || request.body.flaws.size > 0) {
        if (request !== null || this.#text.includes("\r\n\r\n")) this.#fault("is no request");
        return;
      }
      const mark = request.fields.find(([field]) => field === MARK)?.[1] ?? "";
      const [client, place] = mark.split(".").map(Number) as [number, number];
      const record = clients.get(client);
      if (record === undefined) return this.#fault("belongs to no client");
      record.arrived.set(place, request);
      const script = answerTo(record.fuzzCase, { method: request.method, path: request.path, content: request.body.content });
      if (!request.body.isWhole && (script.at === "end" || this.#isEarly)) return;
      if (request.body.isWhole) {
        record.sent += this.#text.slice(0, request.end);
        this.#text = this.#text.slice(request.end);
      }
      const wasEarly = this.#isEarly;
      this.#isEarly = !request.body.isWhole;
      if (wasEarly) return this.#read();
      this.#answer(script);
    }

    #answer(script: AnswerScript): void {
      this.#isAnswering = true;
      for (const piece of script.pieces) if (!this.stream.writableEnded) this.stream.write(Buffer.from(piece, "latin1"));
      if (script.after === "end") this.stream.end();
      else if (script.after === "reset") return void setImmediate(() => this.stream.destroy());
      // Behind what was written, so that a pooled connection is never answered out of turn.
      setImmediate(() => {
        this.#isAnswering = false;
        this.#read();
      });
    }

    #fault(what: string): void {
      faults.push(`${name}: what came to the app ${what}: ${JSON.stringify(this.#text.slice(0, 600))}`);
      this.#text = "";
      this.stream.destroy();
    }
  }

  function handlerFor(record: CaseRecord): HttpHandler {
    const client = record.fuzzCase.number;
    const upstream: Upstream = { key: record.fuzzCase.sharesPool ? "app" : `app ${client}`, address: "app:80", dial };
    const finished = new Set<Exchange>();
    return {
      request(connection, head, decide) {
        const exchange = beginMarked(connection, head, `${client}.${record.begun}`);
        exchange.endpointAddress = "app:80";
        record.begun += 1;
        const decision = { kind: "forward", upstream, body: holdsBodies(record.fuzzCase) ? "verify" : "stream" } as const;
        // At once, or as when a look-up takes its time.
        if (client % 5 === 0) setImmediate(() => decide(exchange, decision));
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
        if (finished.has(exchange)) faults.push(`${name}: an exchange of case ${client} was finished twice`);
        finished.add(exchange);
        record.finished += 1;
        if (exchange.refusal !== null) record.refusals.push(exchange.refusal.detail);
      },
    };
  }

  function start(fuzzCase: FuzzCase): { readonly record: CaseRecord; readonly stream: MemorySocket } {
    const record: CaseRecord = { fuzzCase, heard: "", state: "open", arrived: new Map(), sent: "", refusals: [], begun: 0, finished: 0 };
    const [stream, theirs] = MemorySocket.pair(move);
    stream.on("data", (chunk: Buffer) => {
      record.heard += chunk.toString("latin1");
    });
    stream.on("end", () => {
      if (record.state === "open") record.state = "ended";
    });
    stream.on("error", () => {
      record.state = "reset";
    });
    clients.set(fuzzCase.number, record);
    const context: ConnectionContext = {
      connectionId: fuzzCase.number,
      direction: "outbound",
      protocol: "http1",
      peer: { identity: null, address: "127.0.0.1", channelBinding: null, told: true },
      port: 80,
    };
    engine.serve({ stream: theirs, context, handler: handlerFor(record), tunnel: null });
    for (const piece of fuzzCase.pieces) stream.write(Buffer.from(piece, "latin1"));
    return { record, stream };
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

  return {
    name,
    async run(cases) {
      clients = new Map();
      const begun = cases.map(start);
      await settle();
      const states = begun.map(({ record }) => record.state);
      const heard = begun.map(({ record }) => record.heard);
      for (const { record, stream } of begun) {
        if (record.fuzzCase.leave === "end" || record.state !== "open") stream.end();
        else stream.destroy();
      }
      await settle();
      await clock.advanceAsync(LINGER_MS, LINGER_MS / 4);
      await settle();
      for (const { stream } of begun) stream.destroy();
      await settle();
      begun.forEach(({ record }, index) => {
        record.state = states[index] as CaseRecord["state"];
        record.heard = heard[index] as string;
        if (record.begun !== record.finished)
          faults.push(`${name}: case ${record.fuzzCase.number} began ${record.begun} exchanges and finished ${record.finished}`);
      });
      for (const app of apps) {
        if (app.isIdle) continue;
        faults.push(`${name}: a connection to the app is left in the middle of a request`);
        app.stream.destroy();
      }
      return begun.map(({ record }) => record);
    },
    takeFaults() {
      const taken = isStrict ? faults : [];
      faults = [];
      return taken;
    },
    close: () => engine.close(),
  };
}

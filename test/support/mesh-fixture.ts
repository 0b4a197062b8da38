// What every test of an engine stands on: mesh pairs in front of apps and clients of all kinds, which know afterwards whether anything was left behind.
import { once } from "node:events";
import { type AddressInfo, connect, type Server, type Socket } from "node:net";
import type { Test } from "tap";
import type { EngineName } from "../../sidecar/engine.ts";
import type { Metrics } from "../../core/metrics.ts";
import { type MeshPair, type MeshPairOptions, startMeshPair } from "./mesh-pair.ts";
import { connectRaw, eventually, type RawClient, startRawApp } from "./raw-peers.ts";

/** Both engines: what holds for one must hold for the other, or a row of `sidecar/http1/strictness.ts` says why not. */
export const ENGINES: readonly EngineName[] = ["splice", "compat"];

/** Nothing is in flight any more, and each request was finished once. */
export async function balances({ callerShed, calleeShed, callerLedger, calleeLedger }: MeshPair): Promise<boolean> {
  const quiet = await eventually(
    () =>
      callerShed.inFlight === 0 &&
      calleeShed.inFlight === 0 &&
      callerLedger.begun === callerLedger.finished.length &&
      calleeLedger.begun === calleeLedger.finished.length,
  );
  return quiet && callerLedger.finishedTwice === 0 && calleeLedger.finishedTwice === 0;
}

/** Connections that a side has accepted and not seen closed. */
export async function openConnections(metrics: Metrics, direction: "inbound" | "outbound"): Promise<number> {
  const text = await metrics.registry.metrics();
  return Number(new RegExp(`remora_connections\\{direction="${direction}"\\} (\\d+)`).exec(text)?.[1] ?? 0);
}

/** The pairs, apps and clients of one test. */
export class MeshFixture {
  readonly engine: EngineName;
  readonly #t: Test;
  readonly #pairs: MeshPair[] = [];
  readonly #clients: Socket[] = [];
  /** Connections at the apps that the sidecar has not ended. */
  readonly appSockets = new Set<Socket>();

  constructor(t: Test, engine: EngineName) {
    this.#t = t;
    this.engine = engine;
  }

  /** A pair in front of the app at `appPort`. */
  async pairFor(appPort: number, options: Partial<MeshPairOptions> = {}): Promise<MeshPair> {
    const pair = await startMeshPair({ appPort, engine: this.engine, ...options });
    this.#pairs.push(pair);
    this.#t.teardown(() => pair.close());
    return pair;
  }

  /** Starts a server of any kind on loopback, and gives its port. */
  async listen(server: Server): Promise<number> {
    server.on("connection", (socket: Socket) => this.#keep(socket));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    this.#t.teardown(() => {
      for (const socket of this.appSockets) socket.destroy();
      server.close();
    });
    return (server.address() as AddressInfo).port;
  }

  /** An app that speaks byte by byte. */
  rawApp(onSocket: (socket: Socket, index: number) => void): Promise<number> {
    return startRawApp(this.#t, (socket, index) => {
      this.#keep(socket);
      onSocket(socket, index);
    });
  }

  /** An app that answers the first bytes of each connection with `answer`, as it is, and ends. */
  cannedApp(answer: () => Buffer | string): Promise<number> {
    return this.rawApp((socket) => {
      socket.once("data", () => {
        const bytes = answer();
        socket.end(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
      });
    });
  }

  /** A client that speaks byte by byte. */
  connect(port: number, options: { readonly allowHalfOpen?: boolean } = {}): RawClient {
    const client = connectRaw(this.#t, port, options);
    this.#clients.push(client.socket);
    return client;
  }

  /** A client that reads nothing until it is told to. */
  connectMute(port: number): Socket {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => {});
    this.#clients.push(socket);
    this.#t.teardown(() => socket.destroy());
    return socket;
  }

  /**
   * Asserts that this test left nothing behind: every request was finished once; when the clients are gone, no connection of theirs is left; when the pair is
   * closed, none between the sidecars and none to the app.
   */
  async leavesNothing(): Promise<void> {
    const t = this.#t;
    for (const socket of this.#clients) socket.destroy();
    for (const pair of this.#pairs) {
      t.ok(await balances(pair), `requests balance: ${describe(pair)}`);
      t.equal(await settled(pair.callerMetrics, "outbound"), 0, "connections of the caller's app");
      await pair.close();
      t.equal(await settled(pair.calleeMetrics, "inbound"), 0, "connections between the sidecars");
    }
    t.ok(await eventually(() => this.appSockets.size === 0), `connections to the app: ${this.appSockets.size}`);
  }

  #keep(socket: Socket): void {
    this.appSockets.add(socket);
    socket.on("error", () => {});
    for (const event of ["end", "close"]) socket.once(event, () => this.appSockets.delete(socket));
  }
}

/** Waits, at most 20 s, until a side has no connections; gives how many it has. */
async function settled(metrics: Metrics, direction: "inbound" | "outbound"): Promise<number> {
  let open = await openConnections(metrics, direction);
  for (let waits = 0; open !== 0 && waits < 800; waits += 1) {
    await new Promise((resolve) => setTimeout(resolve, 25));
    open = await openConnections(metrics, direction);
  }
  return open;
}

function describe({ callerShed, calleeShed, callerLedger, calleeLedger }: MeshPair): string {
  const of = (begun: number, finished: number, twice: number, inFlight: number) =>
    `${begun} begun, ${finished} finished, ${twice} twice, ${inFlight} in flight`;
  const caller = of(callerLedger.begun, callerLedger.finished.length, callerLedger.finishedTwice, callerShed.inFlight);
  return `caller ${caller}; callee ${of(calleeLedger.begun, calleeLedger.finished.length, calleeLedger.finishedTwice, calleeShed.inFlight)}`;
}

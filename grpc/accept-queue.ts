// Paces the beginning of TLS handshakes, each of which costs as much CPU as dozens of heartbeats: when thousands connect in the same second, so many are begun in each turn of the
// event loop, in the order they came, and everybody who is connected already is served in between. Nobody can hold a place by being slow: what is counted is the
// beginning, not the handshake.
import type { Socket } from "node:net";

/** Handshakes begun in one turn of the event loop. */
const PER_TURN = 4;
/** Connections that wait for theirs; more are closed, and try again. */
const MAX_WAITING = 16_384;

/** Settings of {@link createAcceptQueue}. */
export interface AcceptQueueOptions {
  /** Begins the handshake. */
  readonly begin: (socket: Socket) => void;
  readonly perTurn?: number;
  readonly maxWaiting?: number;
  /** Calls `run` in the next turn of the event loop; `setImmediate` outside of tests. */
  readonly nextTurn?: (run: () => void) => void;
}

/** The connections that wait. */
export interface AcceptQueue {
  readonly waiting: number;
  /** Takes a connection that is not read yet. */
  push(socket: Socket): void;
}

/** Makes an empty queue. */
export function createAcceptQueue(options: AcceptQueueOptions): AcceptQueue {
  const { begin, perTurn = PER_TURN, maxWaiting = MAX_WAITING, nextTurn = setImmediate } = options;
  const waiting: Socket[] = [];
  let begunInTurn = 0;
  let isScheduled = false;

  function schedule(): void {
    if (isScheduled) return;
    isScheduled = true;
    nextTurn(turn);
  }

  function turn(): void {
    isScheduled = false;
    begunInTurn = 0;
    while (begunInTurn < perTurn) {
      const socket = waiting.shift();
      if (socket === undefined) return;
      start(socket);
    }
    schedule();
  }

  function start(socket: Socket): void {
    begunInTurn += 1;
    if (!socket.destroyed) begin(socket);
  }

  return {
    get waiting() {
      return waiting.length;
    },
    push(socket) {
      schedule(); // also for the count of this turn to begin anew
      if (waiting.length === 0 && begunInTurn < perTurn) return start(socket);
      if (waiting.length >= maxWaiting) return void socket.destroy();
      socket.on("error", () => {}); // gone before its turn
      waiting.push(socket);
    },
  };
}

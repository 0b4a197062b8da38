// One bidirectional call to the control plane that comes back by itself: opened on the newest channel, opened again with exponential backoff and
// jitter when it ends. It owns the call and the backoff; what is said on it is its user's.
import type { ClientDuplexStream } from "@grpc/grpc-js";
import type { Clock, Timer } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";

const BACKOFF_LEAST_MS = 100;

/** Settings of {@link startControlStream}. */
export interface ControlStreamOptions<Request, Response> {
  /** For the log. */
  readonly name: string;
  /** Opens a call on the newest channel. */
  readonly open: () => ClientDuplexStream<Request, Response>;
  /** The call can be written to; whatever the server must know first is sent here. */
  readonly onOpen: () => void;
  readonly onMessage: (message: Response) => void;
  /** The call ended or could not be opened. Called once for each {@link onOpen}. */
  readonly onDown: () => void;
  /** Ceiling of the backoff, ms; asked each time. */
  readonly backoffMostMs: () => number;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
}

/** A call that comes back. */
export interface ControlStream<Request> {
  /** False: there is no call now, nothing was sent. */
  send(message: Request): boolean;
  /** Opens a new call at once and ends the one there is, after the new one: for a new channel. */
  restart(): void;
  close(): void;
}

type State<Request, Response> =
  | { readonly kind: "waiting"; readonly timer: Timer }
  /** `heard` is set exactly when the server said anything: only then does the backoff start over. */
  | { readonly kind: "open"; readonly call: ClientDuplexStream<Request, Response>; heard: boolean }
  | { readonly kind: "closed" };

/** Opens the call and keeps it open until `close`. */
export function startControlStream<Request, Response>(options: ControlStreamOptions<Request, Response>): ControlStream<Request> {
  const { name, clock, random, log } = options;
  let state: State<Request, Response> = { kind: "closed" };
  let failures = 0;
  let lastProblem = "";

  function open(): void {
    const opened = { kind: "open" as const, call: options.open(), heard: false };
    state = opened;
    opened.call.on("data", (message: Response) => {
      if (state !== opened) return;
      if (!opened.heard) up();
      opened.heard = true;
      options.onMessage(message);
    });
    opened.call.on("error", (error: Error) => down(opened, error.message));
    opened.call.on("end", () => down(opened, "the control plane ended the stream"));
    options.onOpen();
  }

  function up(): void {
    failures = 0;
    if (lastProblem !== "") log.info({ stream: name }, "the control plane is back");
    lastProblem = "";
  }

  function down(opened: State<Request, Response>, problem: string): void {
    if (state !== opened || opened.kind !== "open") return;
    opened.call.cancel();
    if (problem !== lastProblem) log.warn({ stream: name, problem }, "the stream to the control plane is down; trying again");
    lastProblem = problem;
    const ceiling = Math.min(options.backoffMostMs(), BACKOFF_LEAST_MS * 2 ** Math.min(failures, 16));
    failures += 1;
    state = { kind: "waiting", timer: clock.after(ceiling * (0.5 + random() / 2), open) };
    options.onDown();
  }

  open();
  return {
    send(message) {
      if (state.kind !== "open") return false;
      state.call.write(message);
      return true;
    },
    restart() {
      const before = state;
      if (before.kind === "closed") return;
      if (before.kind === "waiting") before.timer.cancel();
      else options.onDown();
      open();
      if (before.kind === "open") before.call.end();
    },
    close() {
      const before = state;
      state = { kind: "closed" };
      if (before.kind === "waiting") before.timer.cancel();
      if (before.kind === "open") {
        before.call.end();
        before.call.cancel();
      }
    },
  };
}

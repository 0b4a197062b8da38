// One worker as the first process sees it: started, told what it needs, started again with a growing pause when it ends. What it held in shared memory
// is given back when it ends, and what it counted is kept.
import { type ChildProcess, fork } from "node:child_process";
import type { Clock, Timer } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import { WORKER_VARIABLE } from "../config.ts";
import { type FromWorker, tell, type ToWorker } from "./messages.ts";

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 10_000;
/** A worker that listened this long starts again with the shortest pause. */
const STEADY_AFTER_MS = 30_000;

/** Secrets that only the first process needs. */
const KEPT_FROM_WORKERS = ["REMORA_JOIN_TOKEN", "REMORA_METRICS_TOKEN"];

/** Where a worker is in its life. */
export type WorkerState =
  | { readonly kind: "starting"; readonly child: ChildProcess }
  | { readonly kind: "listening"; readonly child: ChildProcess; readonly sinceMonoMs: number }
  /** Waits to be started again. */
  | { readonly kind: "waiting"; readonly timer: Timer }
  | { readonly kind: "ended" };

/** What a worker's owner is told. */
export interface WorkerEvents {
  /** A new process is there and waits for its `start`. */
  readonly born: (worker: WorkerProcess) => void;
  /** It said something else than `listening` and `failed`. */
  readonly said: (worker: WorkerProcess, message: FromWorker) => void;
  /** Its process ended; what it held can be given back. `message` says why it could not start, if it said so. */
  readonly died: (worker: WorkerProcess, message: string | null) => void;
  /** It serves the ports. */
  readonly listens: (worker: WorkerProcess) => void;
}

/** Settings of {@link createWorkerProcess}. */
export interface WorkerProcessOptions {
  /** From 1. */
  readonly number: number;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The shared memory. */
  readonly memoryFd: number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly events: WorkerEvents;
}

/** A worker, through all its lives. */
export interface WorkerProcess {
  readonly number: number;
  readonly state: WorkerState;
  /** Of the process there is; null while there is none. */
  readonly pid: number | null;
  /** How often it was started again. */
  readonly restarts: number;
  tell(message: ToWorker): void;
  /** Ends it at once; it is started again as after any other end. */
  kill(): void;
  /** Lets it lie from now on when it ends; one that serves nothing yet is ended. */
  retire(): void;
  /** Retires and ends it. Resolves when there is no process; one that does not end by itself is killed after `graceMs`. */
  end(graceMs: number): Promise<void>;
}

/** Starts a worker. */
export function createWorkerProcess(options: WorkerProcessOptions): WorkerProcess {
  const { number, clock, log, events } = options;
  let pauseMs = FIRST_PAUSE_MS;
  let restarts = 0;
  let failure: string | null = null;
  let isRetired = false;
  let onEnd: (() => void) | null = null;
  let state: WorkerState = begin();

  const worker: WorkerProcess = {
    number,
    get state() {
      return state;
    },
    get pid() {
      return childOf(state)?.pid ?? null;
    },
    get restarts() {
      return restarts;
    },
    tell(message) {
      const child = childOf(state);
      if (child !== null) tell(child, message);
    },
    kill: () => void childOf(state)?.kill("SIGKILL"),
    retire,
    end,
  };
  events.born(worker);
  return worker;

  /** This very program, whether it runs from a checkout or from a bundle, with one variable that makes it a worker. */
  function begin(): WorkerState {
    const env: NodeJS.ProcessEnv = { ...options.env, [WORKER_VARIABLE]: String(number) };
    for (const name of KEPT_FROM_WORKERS) delete env[name];
    const child = fork(process.argv[1] ?? "", process.argv.slice(2), {
      env,
      stdio: ["ignore", "inherit", "inherit", "ipc", options.memoryFd], // the last one is MEMORY_FD there
      serialization: "advanced",
    });
    failure = null;
    child.on("message", (message) => hear(child, message as FromWorker)); // only our own worker writes to the channel
    child.once("exit", (code, signal) => died(child, code, signal));
    child.once("error", (err) => {
      log.error({ err, worker: number }, "a worker cannot be started");
      if (child.pid === undefined) died(child, null, null); // else `exit` follows
    });
    return { kind: "starting", child };
  }

  function hear(child: ChildProcess, message: FromWorker): void {
    if (childOf(state) !== child) return;
    if (message.kind === "failed") failure = message.message;
    else if (message.kind === "listening") listen(child);
    else events.said(worker, message);
  }

  function listen(child: ChildProcess): void {
    state = { kind: "listening", child, sinceMonoMs: clock.monoMs() };
    events.listens(worker);
  }

  function died(child: ChildProcess, code: number | null, signal: NodeJS.Signals | null): void {
    const before = state;
    if (childOf(before) !== child) return;
    if (before.kind === "listening" && clock.monoMs() - before.sinceMonoMs > STEADY_AFTER_MS) pauseMs = FIRST_PAUSE_MS;
    if (isRetired) state = { kind: "ended" };
    else {
      log.warn({ worker: number, pid: child.pid, code, signal, failure, pauseMs }, "a worker ended, starting it again");
      state = pauseBeforeStart();
    }
    events.died(worker, failure);
    onEnd?.();
  }

  function pauseBeforeStart(): WorkerState {
    const timer = clock.after(pauseMs, startAgain);
    pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
    return { kind: "waiting", timer };
  }

  function startAgain(): void {
    if (state.kind !== "waiting") return;
    restarts += 1;
    try {
      state = begin();
    } catch (err) {
      log.error({ err, worker: number, pauseMs }, "a worker cannot be started, trying again");
      state = pauseBeforeStart();
      return;
    }
    events.born(worker);
  }

  function retire(): void {
    isRetired = true;
    if (state.kind === "starting") tell(state.child, { kind: "close" });
    if (state.kind !== "waiting") return;
    state.timer.cancel();
    state = { kind: "ended" };
  }

  function end(graceMs: number): Promise<void> {
    retire();
    const child = childOf(state);
    if (child === null) return Promise.resolve();
    return new Promise((resolve) => {
      const force = clock.after(graceMs, () => child.kill("SIGKILL"));
      onEnd = () => {
        force.cancel();
        resolve();
      };
      tell(child, { kind: "close" });
    });
  }
}

function childOf(state: WorkerState): ChildProcess | null {
  return state.kind === "starting" || state.kind === "listening" ? state.child : null;
}

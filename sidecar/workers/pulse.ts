// Finds workers that hang: the kernel goes on giving them connections, and what they are told piles up. Each is asked now and then; one that was silent
// for too long is killed, and started again like any other that ended.
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import type { WorkerProcess } from "./worker-process.ts";

/** How often each worker is asked for a sign of life. */
export const PULSE_PERIOD_MS = 5_000;
/** Silent questions after which a worker counts as hung: half a minute, so that a machine that is merely busy is not taken for it. */
export const MAX_SILENT = 6;

/** The watch over all workers. */
export interface Pulse {
  /** A worker said something, whatever it was, or is a new process. */
  heard(worker: WorkerProcess): void;
  close(): void;
}

/** Starts asking. `ask` makes a worker say something; `listening` gives those that should. */
export function startPulse(options: {
  readonly clock: Clock;
  readonly log: Logger;
  readonly listening: () => readonly WorkerProcess[];
  readonly ask: (worker: WorkerProcess) => void;
}): Pulse {
  const { clock, log, listening, ask } = options;
  const silent = new Map<WorkerProcess, number>();

  function beat(): void {
    for (const worker of listening()) {
      const questions = silent.get(worker) ?? 0;
      if (questions < MAX_SILENT) {
        silent.set(worker, questions + 1);
        ask(worker);
        continue;
      }
      silent.delete(worker);
      log.error({ worker: worker.number, pid: worker.pid, silentMs: MAX_SILENT * PULSE_PERIOD_MS }, "a worker hangs and is killed");
      worker.kill();
    }
  }

  const timer = clock.every(PULSE_PERIOD_MS, beat);
  return { heard: (worker) => void silent.delete(worker), close: () => timer.cancel() };
}

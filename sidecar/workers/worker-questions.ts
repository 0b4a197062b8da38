// Questions that the first process puts to all workers at once, and waits until each has answered. Who ends instead of answering is not waited for.
import type { Clock } from "../../core/clock.ts";
import type { FromWorker, ToWorker } from "./messages.ts";
import type { WorkerProcess } from "./worker-process.ts";

interface Open {
  readonly worker: WorkerProcess;
  readonly isAnswer: (message: FromWorker) => boolean;
  readonly settle: () => void;
}

/** Questions that are open. */
export interface WorkerQuestions {
  /** Asks each of `workers`; resolves when all have answered or ended, or after `timeoutMs` (default: never). */
  ask(workers: readonly WorkerProcess[], message: ToWorker, isAnswer: (message: FromWorker) => boolean, timeoutMs?: number): Promise<void>;
  heard(worker: WorkerProcess, message: FromWorker): void;
  ended(worker: WorkerProcess): void;
}

/** Makes them; nothing is open. */
export function createWorkerQuestions(clock: Clock): WorkerQuestions {
  const open = new Set<Open>();

  function one(worker: WorkerProcess, isAnswer: Open["isAnswer"], timeoutMs: number | undefined): Promise<void> {
    return new Promise((resolve) => {
      const timer = timeoutMs === undefined ? null : clock.after(timeoutMs, () => settle());
      const question: Open = { worker, isAnswer, settle };
      function settle(): void {
        timer?.cancel();
        open.delete(question);
        resolve();
      }
      open.add(question);
    });
  }

  return {
    async ask(workers, message, isAnswer, timeoutMs) {
      const answers = workers.map((worker) => one(worker, isAnswer, timeoutMs));
      for (const worker of workers) worker.tell(message);
      await Promise.all(answers);
    },
    heard(worker, message) {
      for (const question of open) if (question.worker === worker && question.isAnswer(message)) question.settle();
    },
    ended(worker) {
      for (const question of open) if (question.worker === worker) question.settle();
    },
  };
}

import t from "tap";
import { MAX_SILENT, PULSE_PERIOD_MS, startPulse } from "../../../sidecar/workers/pulse.ts";
import type { WorkerProcess } from "../../../sidecar/workers/worker-process.ts";
import { createFakeClock } from "../../support/fake-clock.ts";
import { createMemoryLog } from "../../support/throwaway-control.ts";

/** A worker of which only the number, and whether it was killed, matter. */
function fakeWorker(number: number, killed: number[]): WorkerProcess {
  return {
    number,
    pid: 1000 + number,
    restarts: 0,
    state: { kind: "ended" },
    tell: () => {},
    kill: () => void killed.push(number),
    retire: () => {},
    end: async () => {},
  };
}

t.test("a worker that says nothing for half a minute is killed, one that answers is not", async (t) => {
  const clock = createFakeClock();
  const { log, lines } = createMemoryLog();
  const killed: number[] = [];
  const [lively, hung, late] = [1, 2, 3].map((number) => fakeWorker(number, killed)) as [WorkerProcess, WorkerProcess, WorkerProcess];
  const pulse = startPulse({
    clock,
    log,
    listening: () => [lively, hung, late],
    ask: (worker) => {
      if (worker === lively) pulse.heard(worker);
    },
  });
  clock.advance(PULSE_PERIOD_MS * MAX_SILENT);
  t.same(killed, [], "patience");
  pulse.heard(late); // just in time
  clock.advance(PULSE_PERIOD_MS);
  t.same(killed, [2]);
  t.match(lines, [{ worker: 2, msg: "a worker hangs and is killed" }]);
  clock.advance(PULSE_PERIOD_MS);
  t.same(killed, [2], "what follows it has its own patience");
  pulse.close();
  clock.advance(PULSE_PERIOD_MS * 100);
  t.same(killed, [2]);
});

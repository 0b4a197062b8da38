import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import t from "tap";
import { createProcessLock, isProcessAlive } from "../../../sidecar/workers/process-lock.ts";
import { createSharedBound } from "../../../sidecar/workers/shared-bound.ts";
import { createSharedMemory } from "../../../sidecar/workers/shared-memory.ts";

const HOLDER = join(import.meta.dirname, "lock-holder.ts");

type Tap = { teardown(run: () => unknown): void };

/** Starts a process that shares `fd`, and waits until it has done its first step. */
async function started(t: Tap, fd: number, ...words: string[]): Promise<ChildProcess> {
  const child = fork(HOLDER, words, { stdio: ["ignore", "inherit", "inherit", "ipc", fd], execArgv: [] });
  t.teardown(() => child.kill("SIGKILL"));
  await once(child, "message");
  return child;
}

t.test("processes keep each other out", async (t) => {
  const { buffer, fd } = createSharedMemory(4096);
  const times = 200_000;
  const children = await Promise.all([1, 2, 3].map(() => started(t, fd, "count", String(times))));
  const ends = children.map((child) => once(child, "exit"));
  for (const child of children) child.send("go");
  t.same(await Promise.all(ends), [
    [0, null],
    [0, null],
    [0, null],
  ]);
  const numbers = new Float64Array(buffer, 64, 2);
  t.same([...numbers], [3 * times, 3 * times], "no step was lost");
});

t.test("a holder that was killed is noticed, one that was stopped is passed over", async (t) => {
  const { buffer, fd } = createSharedMemory(4096);
  const word = new Int32Array(buffer, 0, 1);
  const lock = createProcessLock({ word, pid: process.pid, isAlive: isProcessAlive });

  const killed = await started(t, fd, "hold");
  t.equal(word[0], killed.pid, "the lock names its holder");
  killed.kill("SIGKILL");
  await once(killed, "exit");
  const sinceMs = performance.now();
  lock.enter();
  t.ok(performance.now() - sinceMs < 100, "taken from the dead at once");
  lock.leave();
  t.equal(word[0], 0);

  const stopped = await started(t, fd, "hold");
  stopped.kill("SIGSTOP");
  lock.enter();
  t.equal(word[0], process.pid, "nobody waits for ever");
  lock.leave();
});

t.test("who lost the lock does not free another's", async (t) => {
  const word = new Int32Array(new SharedArrayBuffer(4));
  const slow = createProcessLock({ word, pid: 10, isAlive: () => false });
  const fast = createProcessLock({ word, pid: 20, isAlive: () => true });
  slow.enter();
  fast.enter(); // passes over 10 once its patience is over
  slow.leave();
  t.equal(word[0], 20);
  fast.leave();
  t.equal(word[0], 0);
});

t.test("a shared bound counts everybody, and a process only its own", async (t) => {
  const cells = new Int32Array(new SharedArrayBuffer(8));
  const lock = createProcessLock({ word: new Int32Array(new SharedArrayBuffer(4)), pid: 1, isAlive: () => true });
  const first = createSharedBound({ max: 3, cells, index: 0, lock });
  const second = createSharedBound({ max: 3, cells, index: 1, lock });
  t.same([first.tryEnter(), second.tryEnter(), second.tryEnter(), first.tryEnter(), second.tryEnter()], [true, true, true, false, false]);
  t.same([first.inFlight, second.inFlight, first.maxInFlight], [1, 2, 3]);
  second.leave();
  t.ok(first.tryEnter(), "what one leaves another takes");
  cells[0] = 0; // what is done for a process that ended
  t.same([second.tryEnter(), second.tryEnter(), second.tryEnter()], [true, true, false]);
  second.leave();
  second.leave();
  second.leave();
  t.throws(() => second.leave(), /without tryEnter/);
  t.equal(second.inFlight, 0, "and that changed nothing");
});

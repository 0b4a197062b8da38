// A process of process-lock.test.ts: maps the shared memory that it was given and does what its argument says under the lock.
import { createProcessLock, isProcessAlive } from "../../../sidecar/workers/process-lock.ts";
import { mapSharedMemory } from "../../../sidecar/workers/shared-memory.ts";

const MEMORY_FD = 4;
const [task, times] = process.argv.slice(2);
const buffer = mapSharedMemory(MEMORY_FD, 4096);
const lock = createProcessLock({ word: new Int32Array(buffer, 0, 1), pid: process.pid, isAlive: isProcessAlive });
const numbers = new Float64Array(buffer, 64, 2);

if (task === "count") {
  process.once("message", () => {
    for (let n = 0; n < Number(times); n++) {
      lock.enter();
      // Two numbers that are only equal when nobody else is in between.
      numbers[0] = (numbers[0] ?? 0) + 1;
      numbers[1] = (numbers[1] ?? 0) + 1;
      if (numbers[0] !== numbers[1]) process.exit(1);
      lock.leave();
    }
    process.exit();
  });
} else {
  lock.enter(); // and never leaves
}
process.send?.("there");

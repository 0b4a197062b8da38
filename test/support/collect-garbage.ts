// Makes the collector run now, for tests of what is kept and what is not.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** Collects what is garbage after this turn of the event loop: weak references live until its end. */
export async function collectGarbage(): Promise<void> {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void; // the flag makes it a global of new contexts
  await new Promise((resolve) => setImmediate(resolve));
  collect();
}

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import t from "tap";
import { requires } from "../support/requires.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { BENCH_TIMEOUT_MS, startBench } from "./start-bench.ts";

t.test("Ctrl-C ends everything that was started", { skip: requires("nginx") }, async (t) => {
  const folder = temporaryFolder(t);
  const bench = await startBench(t, folder, "--scenario get-1k-c32 --proxy nginx --seconds 30".split(" "));
  await bench.line(/nginx, round 1/, BENCH_TIMEOUT_MS);
  t.equal(processesOf(folder).length, 3, "the origin and two hops");
  bench.signal("SIGINT");
  t.equal(await bench.exit(), 130);
  t.same(processesOf(folder), []);
  t.notOk(
    readdirSync(folder).some((name) => name.startsWith("remora-bench-")),
    "and its folder is gone",
  );
});

t.test("being killed ends them too", { skip: requires("nginx", "setpriv") }, async (t) => {
  const folder = temporaryFolder(t);
  const bench = await startBench(t, folder, "--scenario get-1k-c32 --proxy none --seconds 30".split(" "));
  await bench.line(/none, round 1/, BENCH_TIMEOUT_MS);
  t.equal(processesOf(folder).length, 1, "the origin");
  bench.signal("SIGKILL");
  t.equal(await bench.exit(), null);
  const givenUpAtMs = performance.now() + 20_000;
  while (processesOf(folder).length > 0 && performance.now() < givenUpAtMs) await setImmediate(); // the kernel says nothing when it is done
  t.same(processesOf(folder), []);
});

/** Command lines of the running programs that were started with something in `folder`; none that has ended and not been waited for. */
function processesOf(folder: string): readonly string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(join("/proc", pid, "cmdline"), "utf8").replaceAll("\0", " ");
      } catch {
        return ""; // it has ended
      }
    })
    .filter((command) => command.includes(join(folder, "remora-bench-")));
}

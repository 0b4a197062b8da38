import t from "tap";
import { drawChart } from "../../bench/load/chart.ts";
import { hungShare, type Outcome, type Sample } from "../../bench/load/measure.ts";
import { between } from "../../bench/load/publish.ts";
import { allProxies, type ProxyKind } from "../../bench/load/proxies.ts";
import { median, rank } from "../../bench/load/rank.ts";
import { isClean, reportOf } from "../../bench/load/report.ts";
import { type Scenario, scenarios } from "../../bench/load/scenarios.ts";
import { summaryOf } from "../../bench/load/summary.ts";
import { formatMarkdown, formatReport, tableOf } from "../../bench/load/table.ts";

const PROXIES = new Map(allProxies("/nowhere").map((proxy) => [proxy.name, proxy]));
const proxyNamed = (name: string) => PROXIES.get(name) as ProxyKind;
const scenarioNamed = (name: string) => scenarios(1_000).find((scenario) => scenario.name === name) as Scenario;

function sample(cpuUs: readonly [number, number], latencyMs: number, failed = 0): Sample {
  const latencies = { meanMs: latencyMs, p50Ms: latencyMs, p90Ms: latencyMs * 2, p99Ms: latencyMs * 3, p999Ms: latencyMs * 4 };
  return { requests: 1_000, failed, perSecond: 500, ...latencies, cpuUs };
}

function measured(name: string, samples: readonly Sample[]): Outcome {
  const memory = { rssKiB: 2_048, privateKiB: 1_024 };
  return { kind: "measured", proxy: proxyNamed(name), samples, memory: [memory, memory] };
}

t.test("a row has the promised fields, medians of the rounds and the sum of the errors", async (t) => {
  const samples = [sample([10, 20], 1), sample([30, 50], 5, 2), sample([12, 24], 2, 1)];
  const report = reportOf(scenarioNamed("get-1k-c32"), [measured("splice", samples)], new Map([["splice", "0.1.0"]]), []);
  t.same(report.lines[0]?.row, {
    scenario: "get-1k-c32",
    proxy: "splice",
    version: "0.1.0",
    connections: 32,
    rps: 500,
    p50Ms: 2,
    p90Ms: 4,
    p99Ms: 6,
    p999Ms: 8,
    cpuUsOut: 12,
    cpuUsIn: 24,
    rssMbOut: 2,
    rssMbIn: 2,
    privateMbOut: 1,
    privateMbIn: 1,
    errors: 3,
  });
  t.equal(report.lines[0]?.ratios, null, "nothing to compare with");
  t.equal(isClean(report), false, "errors fail the run");
});

t.test("CPU is compared with nginx round by round", async (t) => {
  const slowRound = [sample([10, 10], 1), sample([40, 40], 1), sample([12, 12], 1)];
  const twice = slowRound.map(({ cpuUs: [out, in_] }) => sample([out * 2, in_ * 3], 1));
  const report = reportOf(scenarioNamed("get-1k-c1"), [measured("splice", twice), measured("nginx", slowRound)], new Map(), []);
  t.same(report.lines[0]?.ratios, [2, 3]);
  t.same(report.lines[1]?.ratios, [1, 1]);
  t.equal(isClean(report), true);
});

t.test("latency at a constant rate is what is added to no proxy's in the same round", async (t) => {
  const without = [sample([0, 0], 0.2), sample([0, 0], 0.9), sample([0, 0], 0.3)];
  const through = [sample([10, 10], 0.7), sample([10, 10], 1.4), sample([10, 10], 5)];
  const report = reportOf(scenarioNamed("rate-1000"), [measured("none", without), measured("splice", through)], new Map(), []);
  t.equal(report.lines[0]?.added, null);
  t.same(
    report.lines[1]?.added?.map((ms) => Number(ms.toFixed(6))),
    [0.5, 1, 1.5, 2],
  );
  t.same(report.remarks, []);
  const noisy = reportOf(scenarioNamed("rate-1000"), [measured("none", [sample([0, 0], 7)])], new Map(), []);
  t.match(noisy.remarks, [/the machine was busy .* 21\.0 ms without any proxy/]);
});

t.test("what is missing and what failed is named, and only a failure fails the run", async (t) => {
  const scenario = scenarioNamed("tcp-bulk");
  const without = reportOf(scenario, [measured("none", [sample([0, 0], 1)])], new Map(), ["envoy is missing: not installed: pip"]);
  t.match(formatReport(without), /\nenvoy is missing: not installed: pip\n/);
  t.equal(isClean(without), true);
  const failed = reportOf(scenario, [{ kind: "failed", proxy: proxyNamed("nginx"), message: "no port" }], new Map(), []);
  t.match(formatReport(failed), /\nnginx failed: no port\n/);
  t.equal(isClean(failed), false);
});

t.test("tables and chart say the same in Markdown and SVG", async (t) => {
  const reports = ["get-1k-c32", "rate-1000", "tcp-bulk"].map((name) => {
    const outcomes = [
      measured("none", [sample([0, 0], 1)]),
      measured("splice", [sample([15, 17], 2)]),
      measured("nginx", [sample([10, 10], 2)]),
    ];
    return reportOf(scenarioNamed(name), outcomes, new Map(), []);
  });
  const [first = reports[0]] = reports;
  t.match(
    formatMarkdown(tableOf(first as (typeof reports)[0] & object)),
    /^\| {2}\| CPU µs\/req out .*\n\| --- \| ---: .*\n(?:.*\n)\| splice \| 15\.0 \| 17\.0 \| 1\.50× \| 1\.70× /,
  );
  t.same(summaryOf(reports)[0], ["", "splice", "nginx"]);
  t.same(
    summaryOf(reports).map((row) => row[1]),
    ["splice", "16", "1.00 / 2.00 / 3.00", "16", "1"],
  );
  const svg = drawChart(reports, ["a < b & c"]);
  t.match(svg, "a &lt; b &amp; c");
  t.match(svg, "15 + 17 (1.50 and 1.70 ×)");
  t.match(svg, "1.00 / 2.00 / 3.00");
  t.equal(svg.match(/<g /g)?.length, svg.match(/<\/g>/g)?.length);
});

t.test("Remora's variants are of gRPC, drawn as Remora, and left out of the summary", async (t) => {
  t.match(proxyNamed("splice-hmac").unfit(scenarioNamed("get-1k-c1")), /for gRPC/);
  t.equal(proxyNamed("splice-hmac").unfit(scenarioNamed("grpc-unary-4x32")), null);
  t.match(proxyNamed("splice-tcp").unfit(scenarioNamed("grpc-unary-4x32")), /bulk answer/);
  t.equal(proxyNamed("splice-tcp").unfit(scenarioNamed("grpc-bulk-64m")), null);
  t.match(proxyNamed("http-proxy").unfit(scenarioNamed("grpc-bulk-64m")), /no HTTP\/2/);
  const outcomes = ["splice", "splice-tcp", "nginx"].map((name) => measured(name, [sample([15, 17], 1)]));
  const report = reportOf(scenarioNamed("grpc-bulk-64m"), outcomes, new Map(), []);
  t.match(formatReport(report), /CPU ms\/GB out/);
  t.same(summaryOf([report])[0], ["", "splice", "nginx"]);
  t.equal(drawChart([report], []).match(/#0f766e/g)?.length, 2, "two of three bars are green");
});

t.test("results replace what stood between the markers, and only that", async (t) => {
  const text = "above\n<!-- begin benchmark -->\nold\n<!-- end benchmark -->\nbelow\n";
  t.equal(between(text, "new"), "above\n<!-- begin benchmark -->\nnew\n<!-- end benchmark -->\nbelow\n");
  t.equal(between(between(text, "new"), "new"), between(text, "new"));
  t.throws(() => between("above\n", "new"), /no place for the benchmark/);
});

t.test("percentiles are by nearest rank, medians in the middle", async (t) => {
  const hundred = Array.from({ length: 100 }, (_, index) => index + 1);
  t.same(
    [0.5, 0.9, 0.99, 0.999].map((share) => rank(hundred, share)),
    [50, 90, 99, 100],
  );
  t.equal(rank([7], 0.5), 7);
  t.ok(Number.isNaN(rank([], 0.5)));
  t.equal(median([5, 1, 3]), 3);
  t.equal(median([4, 1, 3, 2]), 2.5);
  t.equal(median([9]), 9);
});

t.test("connections that hang are noticed, though what was answered was answered fast", async (t) => {
  t.equal(hungShare({ perSecond: 200, meanMs: 40 }, 8, 1), 0, "8 connections at 40 ms make 200 a second");
  t.equal(hungShare({ perSecond: 20, meanMs: 40 }, 8, 1), 0.9);
  t.equal(hungShare({ perSecond: 10, meanMs: 400 }, 8, 1), 0, "the end cut most of them off");
  t.equal(hungShare({ perSecond: 20_000, meanMs: 0 }, 1, 1), 0, "too fast to be timed");
});

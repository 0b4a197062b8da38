import t from "tap";
import { type BenchOptions, parseOptions } from "../../bench/load/options.ts";

const PROXIES = ["none", "nginx"];
const SCENARIOS = [
  ...["get-1k-c1", "get-1k-c32", "get-1k-c256", "post-10k", "get-1m", "new-connection", "rate-1000", "tcp-bulk"],
  ...["grpc-unary-1x1", "grpc-unary-4x32", "grpc-unary-64x1", "grpc-stream-1000", "grpc-bulk-64m"],
];
const parsed = (...words: string[]) => parseOptions(words, PROXIES) as BenchOptions;

t.test("without options everything is measured", async (t) => {
  const options = parsed();
  t.same(
    options.scenarios.map(({ name }) => name),
    SCENARIOS,
  );
  t.match(options, { proxies: [], seconds: 5, rounds: 3, jsonFile: null, svgFile: null, readme: false });
});

t.test("lists may be given at once or one by one", async (t) => {
  const options = parsed("--scenario", "post-10k,get-1m", "--scenario", "get-1k-c1", "--proxy", "nginx", "--seconds", "2");
  t.same(
    options.scenarios.map(({ name }) => name),
    ["get-1k-c1", "post-10k", "get-1m"],
  );
  t.same(options.proxies, ["nginx"]);
  t.equal(options.seconds, 2);
});

t.test("the constant load is named after its rate, and found by its usual name", async (t) => {
  for (const name of ["rate-250", "rate-1000"]) {
    const [scenario] = parsed("--rate", "250", "--scenario", name).scenarios;
    t.match(scenario, { name: "rate-250", perSecond: 250, connections: 16 });
  }
});

t.test("all mistakes are told at once", async (t) => {
  const problems = parseOptions(["--scenario", "get-2k", "--proxy", "squid", "--rounds", "0", "--seconds", "1.5"], PROXIES);
  t.same(problems, [
    '--seconds is a whole number from 1 to 3600, not "1.5"',
    '--rounds is a whole number from 1 to 1000, not "0"',
    `no scenario "get-2k"; there are ${SCENARIOS.join(", ")}`,
    'no proxy "squid"; there are none, nginx',
  ]);
  t.match(parseOptions(["--connections", "3"], PROXIES), [/--connections/]);
  t.match(parseOptions(["--readme", "--proxy", "nginx"], PROXIES), [/--readme shows everything/]);
});

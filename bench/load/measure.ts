// One scenario over all proxies: everybody is started and warmed up first, then measured in turns (A B A B …), so that whatever else the machine
// does meets all alike. While one is measured the others are idle.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { atConstantRate, inBulk, inGrpcBulk } from "./own-load.ts";
import type { Path } from "./contender.ts";
import { generate, type LoadResult } from "./generate.ts";
import { callGrpc } from "./grpc-calls.ts";
import { createProcesses, type Processes } from "./processes.ts";
import { cpuMs, type Memory, memory } from "./process-cost.ts";
import type { ProxyKind } from "./proxies.ts";
import { proveSameGrpcWork, proveSameWork } from "./same-work.ts";
import type { Scenario } from "./scenarios.ts";

/** As fast as it goes, whatever the scenario: Node compiles what is used ten thousands of times, and until then stops for it up to 50 ms now and then. */
const WARM_UP_S = 5;
/** autocannon counts in whole ms: below this, means say too little to look for hung connections. */
const TIMED_FROM_S = 0.002;
/** Of the measured time: requests that take longer are often cut off by its end. */
const CUT_OFF_SHARE = 0.25;
/** Of the connections: fewer than this at work on average, and the rest waited for answers that never came. */
const LEAST_AT_WORK = 0.4;

/** A number of each hop; 0 without proxies. */
export type PerHop = readonly [out: number, in_: number];

/** One turn of one proxy. */
export interface Sample extends LoadResult {
  readonly cpuUs: PerHop;
}

/** What came of one proxy in one scenario: at least one sample, or a reason. */
export type Outcome =
  | {
      readonly kind: "measured";
      readonly proxy: ProxyKind;
      readonly samples: readonly Sample[];
      readonly memory: readonly [Memory, Memory];
    }
  | { readonly kind: "failed"; readonly proxy: ProxyKind; readonly message: string };

/** Measures `proxies` in their order, `rounds` times `seconds` each. One that fails is reported, and the others are measured all the same. */
export async function measureScenario(options: {
  readonly scenario: Scenario;
  readonly proxies: readonly ProxyKind[];
  readonly originPort: number;
  readonly folder: string;
  readonly seconds: number;
  readonly rounds: number;
  readonly note: (text: string) => void;
}): Promise<readonly Outcome[]> {
  const { scenario, originPort, seconds, rounds, note } = options;
  const processes = createProcesses();
  try {
    const entrants: Entrant[] = [];
    for (const proxy of options.proxies) {
      note(`${scenario.name}: starting ${proxy.name}`);
      const entrant: Entrant = { proxy, path: null, samples: [], failure: null };
      entrants.push(entrant);
      await attempt(entrant, async () => {
        const folder = join(options.folder, `${scenario.name}-${proxy.name}`);
        await mkdir(folder);
        entrant.path = await startPath(proxy, scenario, originPort, folder, processes);
        await load(entrant.path, scenario.load === "constant" ? { ...scenario, load: "closed" } : scenario, WARM_UP_S);
      });
    }
    for (let round = 1; round <= rounds; round += 1) {
      for (const entrant of entrants) {
        const { path } = entrant;
        if (entrant.failure !== null || path === null) continue;
        note(`${scenario.name}: ${entrant.proxy.name}, round ${round} of ${rounds}`);
        await attempt(entrant, async () => void entrant.samples.push(await sample(path, scenario, seconds)));
      }
    }
    return entrants.map(outcomeOf);
  } finally {
    await processes.close();
  }
}

interface Entrant {
  readonly proxy: ProxyKind;
  path: Path | null;
  readonly samples: Sample[];
  failure: string | null;
}

async function attempt(entrant: Entrant, run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    entrant.failure = (error as Error).message;
  }
}

async function startPath(proxy: ProxyKind, scenario: Scenario, originPort: number, folder: string, processes: Processes): Promise<Path> {
  if (proxy.start === null) return { url: `http://127.0.0.1:${originPort}/`, host: null, hops: null };
  const path = await proxy.start({ originPort, folder, start: processes.start, traffic: scenario.traffic });
  if (scenario.traffic === "http") await proveSameWork(path);
  if (scenario.traffic === "grpc" && (path.tunnel ?? null) === null) await proveSameGrpcWork(path); // a tunnel is raw on purpose
  return path;
}

async function sample(path: Path, scenario: Scenario, seconds: number): Promise<Sample> {
  const before = eachHop(path, cpuMs);
  const result = await load(path, scenario, seconds);
  const after = eachHop(path, cpuMs);
  if (result.requests === 0) throw new Error("no request was answered");
  const hung =
    scenario.load === "closed" && !scenario.newConnections ? hungShare(result, scenario.connections * scenario.streams, seconds) : 0;
  if (hung > 0) throw new Error(`its connections hung for ${(hung * 100).toFixed(0)} % of the time`);
  return { ...result, cpuUs: [((after[0] - before[0]) * 1_000) / result.requests, ((after[1] - before[1]) * 1_000) / result.requests] };
}

/**
 * The share of its time that a connection (or stream) of a closed load spent on requests that were never answered, which no percentile shows; 0 when it is within what
 * requests cut off by the end explain. By Little's law, requests per second times their mean time is how many connections were at work.
 */
export function hungShare({ perSecond, meanMs }: Pick<LoadResult, "perSecond" | "meanMs">, connections: number, seconds: number): number {
  const meanS = (meanMs ?? 0) / 1_000;
  if (meanS < TIMED_FROM_S || meanS > seconds * CUT_OFF_SHARE) return 0;
  const atWork = (perSecond * meanS) / connections;
  return atWork < LEAST_AT_WORK ? 1 - atWork : 0;
}

function load(path: Path, scenario: Scenario, durationS: number): Promise<LoadResult> {
  const { traffic, connections, streams, bodyBytes, answerBytes, newConnections } = scenario;
  const { host, tunnel = null } = path;
  const url = new URL(scenario.path, path.url).href;
  switch (scenario.load) {
    case "closed":
      if (traffic === "grpc") return callGrpc({ url, authority: host, connections, streams, durationS, answerBytes });
      return generate({ url, host, connections, durationS, bodyBytes, newConnections });
    case "constant":
      return atConstantRate({ url, host, connections, durationS, perSecond: scenario.perSecond });
    case "bulk":
      if (traffic === "grpc") return inGrpcBulk({ url, authority: host, tunnel, durationS, answerBytes });
      return inBulk({ url, tunnel, connections, durationS });
  }
}

function eachHop({ hops }: Path, cost: (pid: number) => number): PerHop {
  return hops === null ? [0, 0] : [cost(hops[0]), cost(hops[1])];
}

function outcomeOf({ proxy, path, samples, failure }: Entrant): Outcome {
  if (failure !== null || path === null) return { kind: "failed", proxy, message: failure ?? "it did not start" };
  const none: Memory = { rssKiB: 0, privateKiB: 0 };
  return { kind: "measured", proxy, samples, memory: path.hops === null ? [none, none] : [memory(path.hops[0]), memory(path.hops[1])] };
}

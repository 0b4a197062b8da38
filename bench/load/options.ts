// The command line of `npm run bench`, parsed once. All mistakes are reported at once.
import { parseArgs } from "node:util";
import { DEFAULT_RATE, type Scenario, scenarios } from "./scenarios.ts";

/** What to measure, and where the results go. */
export interface BenchOptions {
  readonly scenarios: readonly Scenario[];
  /** Names, in the order of measuring; empty: all. */
  readonly proxies: readonly string[];
  /** Of each measurement, whole. */
  readonly seconds: number;
  readonly rounds: number;
  /** A file for the rows, or null. */
  readonly jsonFile: string | null;
  /** A file for the chart instead of results/last.svg, or null. */
  readonly svgFile: string | null;
  /** Whether the tables of the READMEs and their chart are written anew. */
  readonly readme: boolean;
}

const DEFAULT_SECONDS = 5;
const DEFAULT_ROUNDS = 3;
const MAX_SECONDS = 3_600;
const MAX_ROUNDS = 1_000;
const MAX_RATE = 100_000;

/** Parses the words after the command; a list of what is wrong with them instead. */
export function parseOptions(words: readonly string[], proxyNames: readonly string[]): BenchOptions | readonly string[] {
  let values: Readonly<Record<string, string | boolean | readonly string[] | undefined>>;
  try {
    ({ values } = parseArgs({
      args: [...words],
      options: {
        scenario: { type: "string", multiple: true },
        proxy: { type: "string", multiple: true },
        seconds: { type: "string", default: String(DEFAULT_SECONDS) },
        rounds: { type: "string", default: String(DEFAULT_ROUNDS) },
        rate: { type: "string", default: String(DEFAULT_RATE) },
        json: { type: "string" },
        svg: { type: "string" },
        readme: { type: "boolean", default: false },
      },
    }));
  } catch (error) {
    return [(error as Error).message];
  }
  const problems: string[] = [];
  const whole = (name: string, max: number): number => {
    const value = Number(values[name]);
    if (!(Number.isInteger(value) && value >= 1 && value <= max))
      problems.push(`--${name} is a whole number from 1 to ${max}, not "${values[name]}"`);
    return value;
  };
  const chosen = (name: string, known: readonly string[]): readonly string[] => {
    const names = ((values[name] as readonly string[] | undefined) ?? []).flatMap((list) => list.split(",")); // "multiple" makes it an array
    for (const wanted of names.filter((one) => !known.includes(one)))
      problems.push(`no ${name} "${wanted}"; there are ${known.join(", ")}`);
    return [...new Set(names)];
  };
  const seconds = whole("seconds", MAX_SECONDS);
  const rounds = whole("rounds", MAX_ROUNDS);
  const all = scenarios(whole("rate", MAX_RATE));
  const constant = `rate-${DEFAULT_RATE}`; // also means the constant load at another --rate
  const names = chosen("scenario", [...new Set([...all.map(({ name }) => name), constant])]);
  const proxies = chosen("proxy", proxyNames);
  const readme = values["readme"] === true;
  if (readme && names.length + proxies.length > 0) problems.push("--readme shows everything: leave out --scenario and --proxy");
  if (problems.length > 0) return problems;
  return {
    scenarios:
      names.length === 0 ? all : all.filter(({ name, load }) => names.includes(name) || (load === "constant" && names.includes(constant))),
    proxies,
    seconds,
    rounds,
    jsonFile: (values["json"] as string | undefined) ?? null, // string options
    svgFile: (values["svg"] as string | undefined) ?? null,
    readme,
  };
}

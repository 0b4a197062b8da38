// The command line of `npm run bench -- control`, parsed once; all mistakes are told at once.
import { parseArgs } from "node:util";

/** What the simulator can play. */
export const SCENARIOS = ["steady", "boot", "disconnect", "rolling", "sweep", "certify", "capacity"] as const;
/** One of {@link SCENARIOS}. */
export type Scenario = (typeof SCENARIOS)[number];

/** What to play, and how large. */
export interface ControlBenchOptions {
  readonly scenario: Scenario;
  readonly sidecars: number;
  readonly seconds: number;
  readonly store: "memory" | "redis";
  readonly replicas: number;
  readonly perService: number;
  readonly perConnection: number;
  readonly watches: number;
  /** The core of the first replica; others follow. */
  readonly core: number;
  readonly json: string | null;
  readonly svg: string | null;
  /** `capacity` writes what it found into bench/README.md. */
  readonly readme: boolean;
  /** Flags of Node for the control plane. */
  readonly nodeFlags: readonly string[];
}

const NUMBERS = {
  sidecars: { default: 1_000, min: 1, max: 100_000 },
  seconds: { default: 20, min: 1, max: 3_600 },
  replicas: { default: 1, min: 1, max: 16 },
  "per-service": { default: 50, min: 1, max: 5_000 },
  "per-connection": { default: 50, min: 1, max: 450 },
  watches: { default: 3, min: 0, max: 100 },
  core: { default: 0, min: 0, max: 1_023 },
} as const;

/** Parses the words after the command; a list of what is wrong with them instead. */
export function parseControlOptions(words: readonly string[]): ControlBenchOptions | readonly string[] {
  let values: Readonly<Record<string, string | undefined>>;
  try {
    const numbers = Object.fromEntries(Object.keys(NUMBERS).map((name) => [name, { type: "string" as const }]));
    const texts = {
      scenario: { type: "string" },
      store: { type: "string" },
      json: { type: "string" },
      svg: { type: "string" },
      node: { type: "string" },
    } as const;
    const parsed = parseArgs({ args: words.filter((word) => word !== "--readme"), options: { ...numbers, ...texts } });
    values = parsed.values as Readonly<Record<string, string | undefined>>; // all are texts
  } catch (error) {
    return [(error as Error).message];
  }
  const problems: string[] = [];
  const whole = (name: keyof typeof NUMBERS): number => {
    const { default: usual, min, max } = NUMBERS[name];
    const value = Number(values[name] ?? usual);
    if (!(Number.isInteger(value) && value >= min && value <= max))
      problems.push(`--${name} is a whole number from ${min} to ${max}, not "${values[name]}"`);
    return value;
  };
  const choice = <Name extends string>(name: string, known: readonly Name[]): Name => {
    const found = known.find((one) => one === (values[name] ?? known[0]));
    if (found === undefined) problems.push(`--${name} is one of ${known.join(", ")}, not "${values[name]}"`);
    return found ?? (known[0] as Name); // every list has a first
  };
  const options: ControlBenchOptions = {
    scenario: choice("scenario", SCENARIOS),
    store: choice("store", ["memory", "redis"]),
    sidecars: whole("sidecars"),
    seconds: whole("seconds"),
    replicas: whole("replicas"),
    perService: whole("per-service"),
    perConnection: whole("per-connection"),
    watches: whole("watches"),
    core: whole("core"),
    json: values["json"] ?? null,
    svg: values["svg"] ?? null,
    readme: words.includes("--readme"),
    nodeFlags: (values["node"] ?? "").split(" ").filter((flag) => flag !== ""),
  };
  if (options.replicas > 1 && options.store === "memory") problems.push("--replicas needs --store redis: what they know is shared there");
  if (options.readme && options.scenario !== "capacity") problems.push("--readme is of --scenario capacity");
  return problems.length > 0 ? problems : options;
}

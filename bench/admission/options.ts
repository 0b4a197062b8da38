// The options of `npm run bench -- admission`.
import { parseArgs } from "node:util";
import type { Protocol } from "./caller.ts";

/** As given, or their defaults. */
export interface AdmissionBenchOptions {
  /** Of each measurement. */
  readonly seconds: number;
  /** Reviews per second of the constant load. */
  readonly rate: number;
  /** How often the constant load is measured, in turns with the plain server. */
  readonly rounds: number;
  readonly protocol: Protocol;
  /** Where the servers run. */
  readonly core: number;
  /** NODE_OPTIONS of the injector; empty for none. */
  readonly nodeOptions: string;
  /** Whether the pauses of its garbage collector are counted, which itself costs a little. */
  readonly gc: boolean;
}

/** Reads the words of the command line; a sentence when one is wrong. */
export function parseAdmissionOptions(words: readonly string[]): AdmissionBenchOptions | string {
  const text = (usual: string) => ({ type: "string", default: usual }) as const;
  const options = {
    seconds: text("10"),
    rate: text("200"),
    rounds: text("3"),
    protocol: text("h1"),
    core: text("0"),
    "node-options": text(""),
    gc: { type: "boolean", default: false },
  } as const;
  try {
    const { values } = parseArgs({ args: [...words], options });
    const { protocol, gc } = values;
    if (protocol !== "h1" && protocol !== "h2") return `--protocol is h1 or h2, not "${protocol}"`;
    return {
      seconds: numberWithin("seconds", values.seconds, 1, 3600),
      rate: numberWithin("rate", values.rate, 1, 10_000),
      rounds: numberWithin("rounds", values.rounds, 1, 1000),
      core: numberWithin("core", values.core, 0, 1023),
      protocol,
      nodeOptions: values["node-options"],
      gc,
    };
  } catch (error) {
    return (error as Error).message;
  }
}

function numberWithin(name: string, text: string, least: number, most: number): number {
  const number = Number(text);
  if (Number.isInteger(number) && number >= least && number <= most) return number;
  throw new Error(`--${name} is a whole number from ${least} to ${most}, not "${text}"`);
}

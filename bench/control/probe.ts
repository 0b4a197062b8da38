// Who measures how soon heartbeats are answered: a few sidecars in a process of their own, which has little else to do and goes first on its core. The process that
// simulates the fleet is busy with thousands, so that what it measures of an answer is mostly its own delay.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { availableParallelism, setPriority } from "node:os";
import { fileURLToPath } from "node:url";
import { findProgram } from "../../test/support/requires.ts";
import type { ThrowawayCa } from "../../test/support/throwaway-ca.ts";
import { type Papers, papersBy, serviceOf } from "./fleet.ts";
import type { Counts } from "./tally.ts";

/** Some 50 heartbeats a second. */
export const PROBE_SIDECARS = 250;
export const PROBE_PER_SERVICE = 50;
const MAIN = fileURLToPath(new URL("./probe-main.ts", import.meta.url));
/** Before the fleet's, which has the usual one. */
const PRIORITY = -19;

/** What a probe is told first. */
export interface ProbeTask {
  readonly port: number;
  readonly watches: number;
  readonly papers: ReadonlyMap<string, Papers>;
}

/** A running probe. */
export interface Probe {
  /** Counts from now on. */
  begin(): void;
  /** What was counted. */
  end(): Promise<Counts>;
  close(): void;
}

/** Starts it away from `busyCore`, where there is more than one, and waits until its sidecars are settled. Without the right to a priority it has the usual one. */
export async function startProbe(options: {
  readonly ca: ThrowawayCa;
  readonly port: number;
  readonly watches: number;
  readonly busyCore: number;
}): Promise<Probe> {
  const child = startApart(options.busyCore);
  const issue = papersBy(options.ca, "probe");
  const services = Array.from({ length: PROBE_SIDECARS / PROBE_PER_SERVICE }, (_, account) => serviceOf(account));
  const task: ProbeTask = { port: options.port, watches: options.watches, papers: new Map(services.map((name) => [name, issue(name)])) };
  child.send(task);
  await answerOf(child);
  return {
    begin: () => void child.send("begin"),
    async end() {
      child.send("end");
      return (await answerOf(child)) as Counts; // probe-main.ts says nothing else then
    },
    close: () => void child.kill("SIGKILL"),
  };
}

function startApart(busyCore: number): ChildProcess {
  const others = Array.from({ length: availableParallelism() }, (_, core) => core).filter((core) => core !== busyCore);
  const taskset = others.length === 0 ? null : findProgram("taskset");
  const pinned = taskset === null ? [] : [taskset, "-c", others.join(",")];
  const [command = "", ...words] = [...pinned, process.execPath, MAIN];
  const child = spawn(command, words, { stdio: ["ignore", "inherit", "inherit", "ipc"], serialization: "advanced" });
  try {
    setPriority(child.pid ?? 0, PRIORITY);
  } catch {
    process.stderr.write("the probe has no priority: its latencies have its own waiting for a CPU in them\n");
  }
  return child;
}

/** @throws Error when the probe ends instead */
async function answerOf(child: ChildProcess): Promise<unknown> {
  const [answer] = await Promise.race([
    once(child, "message"),
    once(child, "exit").then(([code]) => Promise.reject(new Error(`the probe has ended with ${code}`))),
  ]);
  return answer;
}

// One hop of a peer as a process: started with its output in a file, and ready when its port takes connections. When it is not, the file says why.
import { closeSync, openSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { StartProcess } from "./processes.ts";

const BETWEEN_MS = 5;
const READY_TIMEOUT_MS = 20_000;
/** Of what it printed, in an error. */
const SHOWN_CHARACTERS = 2_000;

/** A hop that takes connections. */
export interface Hop {
  readonly pid: number;
  readonly port: number;
  /** From the start of its process. */
  readonly startMs: number;
}

/** Starts a hop. Rejects, with what it printed, when it ends early or does not listen in time. */
export async function startHop(options: {
  readonly command: string;
  readonly arguments: readonly string[];
  /** Where it will listen, on 127.0.0.1. */
  readonly port: number;
  /** Its own folder. */
  readonly folder: string;
  readonly start: StartProcess;
}): Promise<Hop> {
  const { command, port, folder, start } = options;
  const log = join(folder, "output");
  const startedMonoMs = performance.now();
  const output = openSync(log, "a");
  const child = await start({
    command,
    arguments: options.arguments,
    env: { ...process.env, PATH: `${process.env["PATH"]}:/usr/sbin` },
    stdio: ["ignore", output, output],
  }).finally(() => closeSync(output));
  while (!(await listens(port))) {
    const code = child.exitCode();
    const waitedMs = performance.now() - startedMonoMs;
    if (code !== null || waitedMs > READY_TIMEOUT_MS) {
      const what = code === null ? `does not listen after ${READY_TIMEOUT_MS} ms` : `ended with ${code}`;
      throw new Error(`${command} ${what}: ${readFileSync(log, "utf8").slice(-SHOWN_CHARACTERS)}`);
    }
    await sleep(BETWEEN_MS);
  }
  return { pid: child.pid, port, startMs: performance.now() - startedMonoMs };
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

// The child processes of a soak: the mesh, alone in its own, and the app, which is killed and started again at random.
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { EngineName } from "../../sidecar/engine.ts";
import type { SeededRandom } from "../support/seeded-random.ts";
import { firstOf } from "./first-of.ts";
import type { MeshLook, MeshReady } from "./messages.ts";

/** As the image runs the sidecar (bin/bundle.ts), and with a collection on demand. */
const MESH_FLAGS = ["--max-semi-space-size=2", "--no-async-context-frame", "--expose-gc"];
const MESH_ENV = { MALLOC_ARENA_MAX: "1", MALLOC_TRIM_THRESHOLD_: "131072" };
const START_MS = 20_000;
const LOOK_MS = 20_000;
/** The app runs at least so long between two crashes, and up to twice as long. */
const APP_RUNS_MS = 12_000;
const APP_AWAY_MS = 500;
/** What was going on when the app went or came counts as met by it. */
const APP_MARGIN_MS = 250;

/** The process under soak. */
export interface MeshProcess {
  readonly pid: number;
  readonly ready: MeshReady;
  /** Rejects when it has crashed. */
  look(): Promise<MeshLook>;
  stop(): Promise<void>;
}

/** Starts the mesh. */
export async function startMesh(engine: EngineName, appPort: number): Promise<MeshProcess> {
  const child = forkProgram("mesh.ts", [engine, String(appPort)], MESH_FLAGS, MESH_ENV);
  const ready = (await messageOf(child, START_MS)) as MeshReady;
  return {
    pid: child.pid ?? -1,
    ready,
    async look() {
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error(`the mesh ended with ${child.signalCode ?? child.exitCode}`);
      child.send("look");
      return (await messageOf(child, LOOK_MS)) as MeshLook;
    },
    stop: () => stop(child),
  };
}

/** The app, with its crashes. */
export interface AppProcess {
  readonly port: number;
  readonly pid: number;
  readonly crashes: number;
  /** True when it was away at any time since. */
  wasDown(sinceMonoMs: number): boolean;
  /** No more crashes; it stays up. */
  calm(): Promise<void>;
  /** Ends all connections on which anything is under way. Idle ones it keeps. */
  leave(): void;
  stop(): Promise<void>;
}

/** Starts the app. `random` says when it crashes. */
export async function startApp(random: SeededRandom): Promise<AppProcess> {
  let child = forkProgram("app.ts", ["0"]);
  const { port } = (await messageOf(child, START_MS)) as AddressInfo;
  const calmed = new AbortController();
  let crashes = 0;
  /** Infinity while it is away. */
  let backMonoMs = Number.NEGATIVE_INFINITY;

  async function crashNowAndThen(): Promise<void> {
    while (!calmed.signal.aborted) {
      await sleep(APP_RUNS_MS * (1 + random.next()), null, { signal: calmed.signal }).catch(ignore);
      if (calmed.signal.aborted) return;
      backMonoMs = Number.POSITIVE_INFINITY;
      crashes += 1;
      await stop(child);
      await sleep(random.below(APP_AWAY_MS));
      child = forkProgram("app.ts", [String(port)]);
      await messageOf(child, START_MS);
      backMonoMs = performance.now();
    }
  }
  const crashing = crashNowAndThen();
  crashing.catch(ignore); // told by `calm`

  return {
    port,
    get pid() {
      return child.pid ?? -1;
    },
    get crashes() {
      return crashes;
    },
    wasDown: (sinceMonoMs) => backMonoMs + APP_MARGIN_MS > sinceMonoMs,
    async calm() {
      calmed.abort();
      await crashing;
    },
    leave: () => void child.send("leave"),
    stop: () => stop(child),
  };
}

function forkProgram(
  file: string,
  args: readonly string[],
  execArgv: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): ChildProcess {
  return fork(new URL(file, import.meta.url), args, { execArgv: [...execArgv], env: { ...process.env, ...env } });
}

async function messageOf(child: ChildProcess, waitMs: number): Promise<unknown> {
  const happened = await firstOf(child, ["message", "exit"], waitMs);
  if (happened?.event === "message") return happened.value;
  throw new Error(`${child.spawnargs.at(-1)}: ${happened === null ? `silent for ${waitMs} ms` : `ended with ${happened.value}`}`);
}

/** Kills it, and waits until its sockets are gone with it. */
async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGKILL");
  await exited;
}

function ignore(): void {}

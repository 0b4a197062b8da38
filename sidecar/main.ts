// The process of the data plane: settings from the environment, signals, exit codes. Everything else is sidecar.ts, or workers/worker.ts in one of
// several processes that a sidecar was told to serve with.
import { join, parse } from "node:path";
import { buildInfo } from "../core/build-info.ts";
import { systemClock } from "../core/clock.ts";
import { loadConfig } from "../core/config.ts";
import { createLogger, flushLog, type Logger } from "../core/log.ts";
import { createMetrics } from "../core/metrics.ts";
import { type SidecarConfig, sidecarSettings, WORKER_VARIABLE } from "./config.ts";
import type { Sidecar } from "./sidecar.ts";

const EXIT_CUT_OFF = 1;

/** Runs a sidecar until SIGTERM, SIGINT or `POST /exit`; a second signal ends it at once. Rejects when it cannot start. */
export async function main(env: Readonly<Record<string, string | undefined>> = process.env): Promise<void> {
  const { [WORKER_VARIABLE]: worker, ...settings } = env;
  const config = loadConfig("sidecar", sidecarSettings, settings);
  if (worker !== undefined) return workerMain(worker, config, settings);
  const build = buildInfo();
  const log = openLog(config, config.logFile);
  const metrics = createMetrics({ component: "sidecar", version: build.version, commit: build.commit });
  let sidecar: Sidecar | null = null;
  let isEnding = false;

  async function end(reason: string): Promise<void> {
    if (isEnding) process.exit(EXIT_CUT_OFF);
    isEnding = true;
    const clean = sidecar === null || (await sidecar.drain(reason));
    await flushLog(log);
    process.exit(clean ? 0 : EXIT_CUT_OFF);
  }

  process.on("SIGTERM", () => void end("SIGTERM"));
  process.on("SIGINT", () => void end("SIGINT"));
  const { startSidecar } = await import("./sidecar.ts"); // here, so that a worker does not load what it never uses
  sidecar = await startSidecar({
    config,
    env: settings,
    build,
    clock: systemClock,
    random: Math.random,
    log,
    metrics,
    onExit: () => void end("POST /exit"),
  });
}

/** Runs a worker until the first process ends it, or itself. Signals are the first process's affair: a terminal and systemd send them to everybody. */
async function workerMain(text: string, config: SidecarConfig, env: Readonly<Record<string, string | undefined>>): Promise<void> {
  const number = Number(text);
  if (!(number >= 1 && number <= config.workers))
    throw new Error(`${WORKER_VARIABLE} is not to be set: it is how a sidecar numbers its workers`);
  const log = openLog(config, config.logFile === null ? null : fileOfWorker(config.logFile, number));
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => {});
  const { runWorker } = await import("./workers/worker.ts");
  runWorker({ number, config, env, log: log.child({ worker: number }), exit: (code) => void flushLog(log).then(() => process.exit(code)) });
}

function openLog(config: SidecarConfig, path: string | null): Logger {
  const file = path === null ? {} : { file: { path, maxBytes: config.logFileSize, daily: true, keep: config.logFileKeep } };
  return createLogger({ component: "sidecar", level: config.logLevel, ...file });
}

/** Each process rotates a file of its own: `remora.log` becomes `remora-worker1.log`. */
function fileOfWorker(path: string, number: number): string {
  const { dir, name, ext } = parse(path);
  return join(dir, `${name}-worker${number}${ext}`);
}

if (import.meta.main) {
  main().catch((error: unknown) => {
    process.stderr.write(`remora sidecar: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(EXIT_CUT_OFF);
  });
}

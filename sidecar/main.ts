// The process of the data plane: settings from the environment, signals, exit codes. Everything else is sidecar.ts.
import { buildInfo } from "../core/build-info.ts";
import { systemClock } from "../core/clock.ts";
import { loadConfig } from "../core/config.ts";
import { createLogger, flushLog } from "../core/log.ts";
import { createMetrics } from "../core/metrics.ts";
import { sidecarSettings } from "./config.ts";
import { type Sidecar, startSidecar } from "./sidecar.ts";

const EXIT_CUT_OFF = 1;

/** Runs a sidecar until SIGTERM, SIGINT or `POST /exit`; a second signal ends it at once. Rejects when it cannot start. */
export async function main(env: Readonly<Record<string, string | undefined>> = process.env): Promise<void> {
  const config = loadConfig("sidecar", sidecarSettings, env);
  const build = buildInfo();
  const file =
    config.logFile === null ? {} : { file: { path: config.logFile, maxBytes: config.logFileSize, daily: true, keep: config.logFileKeep } };
  const log = createLogger({ component: "sidecar", level: config.logLevel, ...file });
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
  sidecar = await startSidecar({
    config,
    env,
    build,
    clock: systemClock,
    random: Math.random,
    log,
    metrics,
    onExit: () => void end("POST /exit"),
  });
}

if (import.meta.main) {
  main().catch((error: unknown) => {
    process.stderr.write(`remora sidecar: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(EXIT_CUT_OFF);
  });
}

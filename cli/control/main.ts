// `remora control` as a process: reads the environment, runs until a signal, says why when it cannot.
import { systemClock } from "../../core/clock.ts";
import type { Environment } from "../../core/config.ts";
import { createLogger, flushLog } from "../../core/log.ts";
import { loadControlConfig } from "./config.ts";
import { startControl } from "./control.ts";

/** Runs until SIGTERM or SIGINT. Resolves with the exit code: 0 when the shutdown was clean, 1 when something had to be cut off. */
export async function runControl(env: Environment): Promise<number> {
  const config = loadControlConfig(env);
  const file =
    config.logFile === null ? {} : { file: { path: config.logFile, maxBytes: config.logFileSize, daily: true, keep: config.logFileKeep } };
  const log = createLogger({ component: "control", level: config.logLevel, ...file });
  const stopped = Promise.withResolvers<string>();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stopped.resolve(signal));
  const control = await startControl(config, { env, clock: systemClock, log, onExit: () => stopped.resolve("POST /exit") });
  const reason = await stopped.promise;
  const isClean = await control.drain(reason);
  await flushLog(log);
  return isClean ? 0 : 1;
}

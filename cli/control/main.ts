// `remora control` as a process: reads the environment, runs until a signal, says why when it cannot.
import { systemClock } from "../../core/clock.ts";
import type { Environment } from "../../core/config.ts";
import { createLogger, flushLog } from "../../core/log.ts";
import { loadControlConfig } from "./config.ts";
import { startControl } from "./control.ts";

/**
 * Runs until SIGTERM or SIGINT and then ends the process: with 0 when the shutdown was clean, with 1 when something had to be cut off. Rejects when
 * it cannot start. A signal during the start ends it at once: nothing is served yet.
 */
export async function runControl(env: Environment): Promise<never> {
  const config = loadControlConfig(env);
  const file =
    config.logFile === null ? {} : { file: { path: config.logFile, maxBytes: config.logFileSize, daily: true, keep: config.logFileKeep } };
  const log = createLogger({ component: "control", level: config.logLevel, ...file });
  const stopped = Promise.withResolvers<string>();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stopped.resolve(signal));
  const starting = startControl(config, { env, clock: systemClock, log, onExit: () => stopped.resolve("POST /exit") });
  const control = await Promise.race([starting, stopped.promise.then(() => null)]);
  const reason = await stopped.promise;
  const isClean = control !== null && (await control.drain(reason));
  await flushLog(log);
  process.exit(isClean ? 0 : 1);
}

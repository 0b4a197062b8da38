// Logs: one JSON object a line on stdout (style 22), and on request the same lines in a file that rotates by day and size. Lines on stdout are
// written at once, so that none is lost when the process ends; what is on its way to the file is awaited with `flushLog`.
import { type DestinationStream, destination, type Logger as PinoLogger, multistream, pino, stdTimeFunctions } from "pino";
import { createLogFile, type LogFileOptions } from "./log-file.ts";

/** A pino logger: `log.info({ connection }, "connection accepted")`. */
export type Logger = PinoLogger;

/** Levels that a setting may ask for, the most talkative first. `silent` writes nothing. */
export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "silent"] as const;

/** One of {@link LOG_LEVELS}. */
export type LogLevel = (typeof LOG_LEVELS)[number];

/** What {@link createLogger} needs. */
export interface LoggerOptions {
  /** On every line: "sidecar", "control", … */
  readonly component: string;
  readonly level: LogLevel;
  /** Where else lines go; absent: nowhere. */
  readonly file?: LogFileOptions;
  /** In place of stdout, for tests. */
  readonly stdout?: DestinationStream;
}

/** Makes the process's logger. Errors under `err` are written with message, stack, code and cause; a Secret is written as `[redacted]`. */
export function createLogger({ component, level, file, stdout = destination({ dest: 1, sync: true }) }: LoggerOptions): Logger {
  const options = {
    level,
    base: { component },
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  if (file === undefined) return pino(options, stdout);
  const complaints = pino(options, stdout);
  const logFile = createLogFile(file, (err) => complaints.error({ err, path: file.path }, "log file failed, logging to stdout only"));
  const log = pino(
    options,
    multistream([
      { level: "trace", stream: stdout },
      { level: "trace", stream: logFile },
    ]),
  );
  flushes.set(log, () => logFile.close());
  return log;
}

const flushes = new WeakMap<Logger, () => Promise<void>>();

/** Resolves when every line is on disk, and closes the log file. Call it last; resolves at once for a logger without a file. */
export async function flushLog(log: Logger): Promise<void> {
  await flushes.get(log)?.();
}

/** A logger that writes nothing. */
export function silentLogger(): Logger {
  return pino({ level: "silent" });
}

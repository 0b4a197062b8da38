// The optional log file, on pino-roll: `remora.log` becomes `remora.1.log`, `remora.2.log`, …, a new one each day or at a size. It is loaded
// only when asked for, and in this thread: a worker would cost several MB. Losing the file never disturbs the program.
import { once } from "node:events";
import type { DestinationStream } from "pino";

const MAX_WAITING_LINES = 10_000;
/** Kept in memory while the disk is slower than the log; lines above are dropped. */
const MAX_BACKLOG_BYTES = 8 * 1024 * 1024;
const CLOSE_TIMEOUT_MS = 2000;

/** Where the log file is and when it rotates. */
export interface LogFileOptions {
  /** Path whose name gets the running number. Its folder is made when missing. */
  readonly path: string;
  /** A new file is begun once one is this large; whole KiB, rounded up. */
  readonly maxBytes: number;
  /** Also begin a new file at midnight. */
  readonly daily: boolean;
  /** How many rotated files are kept, besides the current one. */
  readonly keep: number;
}

/** A pino destination that ends in the rotating file. */
export interface LogFile extends DestinationStream {
  /** Resolves when all lines are on disk (waits at most 2 s). Later lines are dropped. */
  close(): Promise<void>;
}

/** The part of SonicBoom that is used; pino-roll has no types. */
interface RollingFile {
  write(line: string): boolean;
  end(): void;
  destroy(): void;
  on(event: "error", run: (error: Error) => void): void;
}

type State =
  | { readonly kind: "opening"; readonly waiting: string[] } // at most MAX_WAITING_LINES, later ones are dropped
  | { readonly kind: "open"; readonly file: RollingFile }
  | { readonly kind: "closed" };

/** Opens the file in the background; lines wait for it in memory. `onFailure` is called at most once, and then the file is given up. */
export function createLogFile(options: LogFileOptions, onFailure: (error: Error) => void): LogFile {
  let state: State = { kind: "opening", waiting: [] };
  let hasFailed = false;
  const opened = open(options).then(begin, fail);

  function begin(file: RollingFile): void {
    file.on("error", fail);
    const waiting = state.kind === "opening" ? state.waiting : [];
    state = { kind: "open", file };
    for (const line of waiting) file.write(line);
  }

  function fail(error: Error): void {
    const last = state;
    state = { kind: "closed" };
    if (last.kind === "open") last.file.destroy();
    if (!hasFailed) onFailure(error);
    hasFailed = true;
  }

  return {
    write(line) {
      if (state.kind === "open") state.file.write(line);
      else if (state.kind === "opening" && state.waiting.length < MAX_WAITING_LINES) state.waiting.push(line);
    },
    async close() {
      await opened;
      if (state.kind !== "open") return;
      const { file } = state;
      state = { kind: "closed" };
      const closed = once(file as unknown as NodeJS.EventEmitter, "close", { signal: AbortSignal.timeout(CLOSE_TIMEOUT_MS) });
      file.end();
      await closed.catch(() => file.destroy());
    },
  };
}

async function open({ path, maxBytes, daily, keep }: LogFileOptions): Promise<RollingFile> {
  const { default: roll } = (await import("pino-roll")) as unknown as { default: (options: object) => Promise<RollingFile> };
  return roll({
    file: path,
    size: `${Math.max(1, Math.ceil(maxBytes / 1024))}k`,
    ...(daily ? { frequency: "daily" } : {}),
    limit: { count: keep, removeOtherLogFiles: true },
    mkdir: true,
    maxLength: MAX_BACKLOG_BYTES,
  });
}

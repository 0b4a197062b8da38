// What the processes of one container write, while the pod lives and after.
import { chmodSync, closeSync, openSync, readFileSync, writeSync } from "node:fs";

/** Bound of one container's log; the oldest part goes. */
const MAX_LOG_CHARS = 1_000_000;

/**
 * A log that several processes of one container write to, one after the other. It is a file while the pod lives: programs that open /dev/stdout
 * themselves, as nginx does, cannot open the socket pair that Node would give them.
 */
export interface ContainerLog {
  readonly fd: number;
  readonly append: (text: string) => void;
  readonly text: () => string;
  /** Keeps the last part of the text in memory and lets the file go. Idempotent. */
  readonly close: () => void;
}

export function createContainerLog(path: string): ContainerLog {
  const fd = openSync(path, "a", 0o666);
  chmodSync(path, 0o666);
  let kept: string | null = null;
  const read = () => readFileSync(path, "utf8").slice(-MAX_LOG_CHARS);
  return {
    fd,
    append: (text) => {
      if (kept === null) writeSync(fd, text);
      else kept += text;
    },
    text: () => kept ?? read(),
    close() {
      if (kept !== null) return;
      kept = read();
      closeSync(fd);
    },
  };
}

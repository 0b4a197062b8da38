// Whether this process may open as many files as its settings allow connections. Node raises its own limit as far as it may; what is left is the hard limit
// of the container or the shell, and connections beyond it are closed as they come.
import { readFileSync } from "node:fs";

/** Files of one connection: the client's socket and, at worst, one of its own to the other side. */
const FILES_PER_CONNECTION = 2;
/** Files besides connections: listeners, logs, the control plane, what Node itself keeps open. */
const OTHER_FILES = 100;
const LINE = /^Max open files\s+(\d+|unlimited)\s/m;

/** How many files this process may open now; null where the system does not tell (not Linux). */
export function openFilesLimit(limits: () => string = ownLimits): number | null {
  let text: string;
  try {
    text = limits();
  } catch {
    return null;
  }
  const found = LINE.exec(text)?.[1];
  if (found === undefined) return null;
  return found === "unlimited" ? Number.POSITIVE_INFINITY : Number(found);
}

/** A sentence for the log when `maxConnections` in one direction cannot be reached; null when it can, or nobody knows. */
export function openFilesProblem(maxConnections: number, limit: number | null): string | null {
  const needed = maxConnections * FILES_PER_CONNECTION + OTHER_FILES;
  if (limit === null || limit >= needed) return null;
  const reached = Math.max(0, Math.floor((limit - OTHER_FILES) / FILES_PER_CONNECTION));
  return `${maxConnections} connections need up to ${needed} open files, the limit is ${limit}: beyond about ${reached} they may be closed as they come; raise the limit (ulimit -n) or lower REMORA_MAX_CONNECTIONS`;
}

function ownLimits(): string {
  return readFileSync("/proc/self/limits", "utf8");
}

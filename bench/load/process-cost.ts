// What a process costs, from /proc (Linux): CPU time, memory. A contender's hop may be more than one process (nginx with its master); costs are added up.
import { readFileSync } from "node:fs";

/** Clock ticks a second; Linux has said 100 to user space since 2.6. */
const TICKS_PER_SECOND = 100;
/** Fields of /proc/<pid>/stat after the name, counted from the state: utime and stime. */
const UTIME = 11;
const STIME = 12;

/** CPU time used so far in ms, with a resolution of 10 ms. */
export function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The name may hold spaces and parentheses; what follows the last one does not.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return ((Number(fields[UTIME]) + Number(fields[STIME])) * 1_000) / TICKS_PER_SECOND;
}

/** Memory in KiB. */
export interface Memory {
  /** Resident, shared pages (the Node binary, libraries) included. */
  readonly rssKiB: number;
  /** Resident and private: what one more of it costs. */
  readonly privateKiB: number;
}

/** Resident and private memory now. */
export function memory(pid: number): Memory {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const kib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? Number.NaN);
  return { rssKiB: kib("VmRSS"), privateKiB: kib("RssAnon") };
}

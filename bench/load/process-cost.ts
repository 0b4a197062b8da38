// What a process costs, from /proc (Linux): CPU time, memory. A contender's hop may be more than one process (workers, a master); costs are added up.
import { readdirSync, readFileSync } from "node:fs";

/** Clock ticks a second; Linux has said 100 to user space since 2.6. */
const TICKS_PER_SECOND = 100;
/** Fields of /proc/<pid>/stat after the name, counted from the state: utime and stime, and the same of children that ended. */
const TIMES = [11, 12, 13, 14];

/** CPU time used so far by a process, all it started and all of those that ended, in ms, with a resolution of 10 ms. */
export function cpuMs(pid: number): number {
  return familyOf(pid).reduce((sum, member) => sum + ownCpuMs(member), 0);
}

function ownCpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The name may hold spaces and parentheses; what follows the last one does not.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (TIMES.reduce((sum, field) => sum + Number(fields[field]), 0) * 1_000) / TICKS_PER_SECOND;
}

/** Memory in KiB. */
export interface Memory {
  /** Resident, shared pages (the Node binary, libraries) included. */
  readonly rssKiB: number;
  /** Resident and private: what one more of it costs. */
  readonly privateKiB: number;
}

/** Resident and private memory now, of a process and all it started. */
export function memory(pid: number): Memory {
  const members = familyOf(pid).map(ownMemory);
  return {
    rssKiB: members.reduce((sum, { rssKiB }) => sum + rssKiB, 0),
    privateKiB: members.reduce((sum, { privateKiB }) => sum + privateKiB, 0),
  };
}

function ownMemory(pid: number): Memory {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const kib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? Number.NaN);
  return { rssKiB: kib("VmRSS"), privateKiB: kib("RssAnon") };
}

/** The process and its descendants. A child belongs to the thread that started it. */
function familyOf(pid: number): readonly number[] {
  const children = readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/children`, "utf8")
      .split(" ")
      .filter((word) => word !== ""),
  );
  return [pid, ...children.flatMap((child) => familyOf(Number(child)))];
}

// What Linux says of another process: its private memory, its open files, and its TCP connections with the ports of both ends.
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** A process seen from outside. */
export interface ProcessView {
  /** RssAnon: private memory in use, bytes. */
  readonly privateBytes: number;
  readonly openFiles: number;
  /** TCP sockets that it holds, listeners left out, in whatever state. */
  readonly connections: readonly { readonly localPort: number; readonly remotePort: number; readonly state: string }[];
}

/** How long the main threads of processes were ready to run and had no CPU so far, ms. A process that has ended counts for nothing. */
export function waitedForCpuMs(pids: readonly number[]): number {
  let nanoseconds = 0;
  for (const pid of pids) nanoseconds += Number(textOf(`/proc/${pid}/schedstat`).split(" ")[1] ?? 0);
  return nanoseconds / 1e6;
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** States by the kernel's numbers (include/net/tcp_states.h). */
const STATES: Readonly<Record<string, string>> = {
  "01": "established",
  "02": "syn-sent",
  "03": "syn-received",
  "04": "fin-wait-1",
  "05": "fin-wait-2",
  "06": "time-wait",
  "07": "closed",
  "08": "close-wait",
  "09": "last-ack",
  "0A": "listening",
  "0B": "closing",
};

/** Looks at process `pid`. Throws when it has ended. */
export function viewProcess(pid: number): ProcessView {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const kilobytes = /^RssAnon:\s+(\d+) kB$/m.exec(status)?.[1];
  const inodes = new Set<string>();
  let openFiles = 0;
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    const inode = /^socket:\[(\d+)\]$/.exec(linkOf(`/proc/${pid}/fd/${fd}`))?.[1];
    openFiles += 1;
    if (inode !== undefined) inodes.add(inode);
  }
  return { privateBytes: Number(kilobytes) * 1024, openFiles, connections: connectionsOf(pid, inodes) };
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ""; // closed meanwhile
  }
}

function connectionsOf(pid: number, inodes: ReadonlySet<string>): ProcessView["connections"] {
  const lines = ["tcp", "tcp6"].flatMap((table) => readFileSync(`/proc/${pid}/net/${table}`, "utf8").split("\n").slice(1));
  return lines.flatMap((line) => {
    const [, local, remote, number, , , , , , inode] = line.trim().split(/\s+/);
    const state = STATES[number ?? ""] ?? "unknown";
    if (inode === undefined || !inodes.has(inode) || state === "listening") return [];
    return [{ localPort: portOf(local), remotePort: portOf(remote), state }];
  });
}

function portOf(address: string | undefined): number {
  return Number.parseInt(address?.split(":")[1] ?? "", 16);
}

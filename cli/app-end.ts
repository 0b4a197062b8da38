// Waits for the other programs of a pod to end, as the network namespace shows it: while any socket of another user listens or is connected, somebody is
// still at work. For sidecars that are plain containers: they are told to stop together with the app, and must not leave before it.
import { readFile } from "node:fs/promises";
import { request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

const POLL_MS = 200;
/** Quiet for this long is over; between two connections an app may have none for a moment. */
const QUIET_MS = 2_000;
const TELL_TIMEOUT_MS = 1_000;
const TABLES = ["/proc/net/tcp", "/proc/net/tcp6"];
/** States of include/net/tcp_states.h in which a program holds the socket: established, connecting, half closed by the peer, listening. */
const HELD: ReadonlySet<string> = new Set(["01", "02", "08", "0A"]);

/** What is waited for. */
export interface AppEnd {
  /** The sidecar's admin server, which is told to let peers know. */
  readonly host: string;
  readonly adminPort: number;
  /** How long at most, ms. */
  readonly timeoutMs: number;
  /** User id of the sidecar, whose own sockets do not count. */
  readonly ownUid: number;
  /** Default: those of this network namespace. */
  readonly tables?: () => Promise<readonly string[]>;
}

/** Resolves to true when the others have ended, to false when the time is over. */
export async function waitForAppEnd({ host, adminPort, timeoutMs, ownUid, tables = readTables }: AppEnd): Promise<boolean> {
  const endMonoMs = performance.now() + timeoutMs;
  await tellLeaving(host, adminPort);
  let quietSinceMonoMs: number | null = null;
  for (;;) {
    const nowMonoMs = performance.now();
    if ((await tables()).some((table) => othersIn(table, ownUid))) quietSinceMonoMs = null;
    else quietSinceMonoMs ??= nowMonoMs;
    if (quietSinceMonoMs !== null && nowMonoMs - quietSinceMonoMs >= QUIET_MS) return true;
    if (nowMonoMs >= endMonoMs) return false;
    await sleep(Math.min(POLL_MS, Math.max(1, endMonoMs - nowMonoMs)));
  }
}

/** True when a user other than `ownUid` holds a socket. Columns as in `man 5 proc_net`: state is the fourth, the user id the eighth. */
export function othersIn(table: string, ownUid: number): boolean {
  return table
    .split("\n")
    .slice(1)
    .some((line) => {
      const columns = line.trim().split(/\s+/);
      return columns.length >= 8 && HELD.has(columns[3] ?? "") && Number(columns[7]) !== ownUid;
    });
}

function readTables(): Promise<readonly string[]> {
  // A kernel without IPv6 has no second table.
  return Promise.all(TABLES.map((path) => readFile(path, "utf8").catch(() => "")));
}

/** A sidecar that cannot be told is not worth failing for: peers then notice by themselves. */
function tellLeaving(host: string, port: number): Promise<void> {
  return new Promise((resolve) => {
    const asked = request({ method: "POST", host, port, path: "/leave", timeout: TELL_TIMEOUT_MS, agent: false }, (answer) => {
      answer.resume();
      answer.on("close", resolve);
    });
    asked.on("timeout", () => asked.destroy());
    asked.on("error", () => resolve());
    asked.end();
  });
}

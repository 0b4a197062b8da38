// Runs a program of a root file system as a kubelet would: read-only, as the given user, with no capability but the named ones and no way to get more,
// in a network of its own with nothing but loopback. There is no container runtime here; these are the kernel's own means, through util-linux.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { run } from "./commands.ts";

/** Mounts that every container has, then the program. Arguments: root, user, capabilities, program and its words. */
const SCRIPT = `set -eu
root=$1 user=$2 caps=$3
shift 3
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755,size=1m dev "$root/dev"
for device in null zero random urandom; do : >"$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"; done
mount -t tmpfs -o "uid=$user,gid=$user,mode=700,size=16m" state "$root/run/remora"
# Changing users takes two more capabilities, which end with it.
if [ "$user" = 0 ]; then as="" ; else as="--userspec=$user:$user" caps="$caps,+setuid,+setgid"; fi
exec setpriv --clear-groups --no-new-privs --bounding-set "-all,+sys_chroot$caps" --inh-caps=-all chroot $as "$root" "$@"
`;

/** What a program may do. */
export interface Confinement {
  readonly uid: number;
  /** Without the prefix, in lower case, e.g. "net_admin". */
  readonly capabilities?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A network namespace in which programs of one root run. */
export interface Confined {
  /** Runs one to its end. */
  run(words: readonly string[], how: Confinement): { readonly status: number | null; readonly stdout: string; readonly stderr: string };
  /** Starts one; it dies with {@link close} at the latest. */
  start(words: readonly string[], how: Confinement): ChildProcess;
  close(): void;
}

/** Opens one. `path` is the PATH of the image. */
export function confine(root: string, path: string): Confined {
  const name = `remora-image-${process.pid}-${Math.trunc(performance.now())}`;
  run("ip", ["netns", "add", name]);
  run("ip", ["-n", name, "link", "set", "lo", "up"]);
  const children = new Set<ChildProcess>();

  function wordsFor(words: readonly string[], { uid, capabilities = [] }: Confinement): string[] {
    const script = ["sh", "-c", SCRIPT, "sh", root, String(uid), capabilities.map((one) => `,+${one}`).join(""), ...words];
    return ["netns", "exec", name, "unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", ...script];
  }

  return {
    run(words, how) {
      const done = spawnSync("ip", wordsFor(words, how), { encoding: "utf8", timeout: 60_000, env: envOf(path, how) });
      return { status: done.status, stdout: done.stdout, stderr: done.stderr };
    },
    start(words, how) {
      const child = spawn("ip", wordsFor(words, how), { stdio: ["ignore", "pipe", "pipe"], env: envOf(path, how) });
      children.add(child);
      child.once("exit", () => children.delete(child));
      return child;
    },
    close() {
      for (const child of children) kill(child);
      spawnSync("ip", ["netns", "del", name]);
    },
  };
}

/**
 * Ends a program started by {@link Confined.start}. It is the first of its process namespace, so what it started goes with it. Killing `unshare` would
 * not do: the signal for the death of a parent is forgotten when a process changes its user.
 */
export function kill(child: ChildProcess): void {
  if (child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(innermost(child), "SIGKILL");
  } catch {
    child.kill("SIGKILL"); // it has not come that far, or is gone
  }
}

/** `ip` and `unshare` become one process, which has the program as its child. @throws Error when it has none */
export function innermost(child: ChildProcess): number {
  const pid = child.pid ?? 0;
  const first = Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ")[0]);
  if (!(first > 0)) throw new Error("the program has not started");
  return first;
}

/** The host's PATH is only for finding `ip`; the programs behind it are called from it too, so it holds both. */
function envOf(path: string, { env = {} }: Confinement): Record<string, string> {
  return { PATH: `${path}:/usr/bin:/bin:/usr/sbin:/sbin`, NODE_ENV: "production", ...env };
}

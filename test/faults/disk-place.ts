// Small disks of their own (tmpfs) for what the parts keep: one can be filled without filling this machine's. Owns their mounts, also those that a
// harness left which was killed.
import { spawnSync } from "node:child_process";
import { chownSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PREFIX = "remora-faults-";

/** The folder under which a harness mounts its disks. */
export interface DiskPlace {
  /** A new, empty disk; its folder. */
  add(name: string, sizeKib: number, owner: number): string;
  close(): void;
}

export function createDiskPlace(): DiskPlace {
  for (const name of readdirSync(tmpdir())) {
    const pid = name.startsWith(PREFIX) ? name.slice(PREFIX.length).split("-")[0] : undefined;
    if (pid !== undefined && pid !== String(process.pid) && !existsSync(`/proc/${pid}`)) remove(join(tmpdir(), name));
  }
  const root = join(tmpdir(), `${PREFIX}${process.pid}-${Date.now()}`);
  mkdirSync(root, { mode: 0o755 });
  return {
    add(name, sizeKib, owner) {
      const folder = join(root, name);
      mkdirSync(folder);
      const done = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${sizeKib}k,mode=0700`, "tmpfs", folder], { encoding: "utf8" });
      if (done.status !== 0) throw new Error(`mount tmpfs ${folder}: ${done.stderr}`);
      chownSync(folder, owner, owner);
      return folder;
    },
    close: () => remove(root),
  };
}

function remove(root: string): void {
  const mounts = readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[1] ?? "");
  for (const mount of mounts.filter((path) => path.startsWith(`${root}/`))) spawnSync("umount", ["-l", mount]);
  rmSync(root, { recursive: true, force: true });
}

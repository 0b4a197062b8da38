// What a test needs from the machine. Missing: the test is skipped and says what it lacks; with CI=true it runs and fails instead.
import { spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { kubernetesFolder } from "./kubernetes/assets.ts";

/** Folders that hold system programs but are not on every user's PATH. */
const SYSTEM_FOLDERS = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/** What a Python module is asked for with, as in `python3:cryptography`. */
const PYTHON_MODULE = "python3:";

/** False when everything is there, for tap's `skip` option; otherwise what is missing. `root` means uid 0, `python3:NAME` a module, other names are programs. */
export function requires(...needed: readonly string[]): false | string {
  const missing = needed.filter((need) => !isThere(need));
  if (missing.length === 0 || process.env["CI"] === "true") return false;
  return `needs ${missing.join(", ")}`;
}

function isThere(need: string): boolean {
  if (need === "root") return process.getuid?.() === 0;
  if (!need.startsWith(PYTHON_MODULE)) return findProgram(need) !== null;
  // Not from here: Python takes any folder of that name, as our `grpc`, for a package.
  return spawnSync("python3", ["-c", `import ${need.slice(PYTHON_MODULE.length)}`], { cwd: "/", timeout: 10_000 }).status === 0;
}

/** The path of a program, or null. Those of Kubernetes are the pinned ones before any others. */
export function findProgram(name: string): string | null {
  const kubernetes = kubernetesFolder();
  const folders = [...(kubernetes === null ? [] : [kubernetes]), ...(process.env["PATH"] ?? "").split(delimiter), ...SYSTEM_FOLDERS];
  return folders.map((folder) => join(folder, name)).find(isExecutable) ?? null;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

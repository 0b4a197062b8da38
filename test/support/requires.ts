// What a test needs from the machine. Missing: the test is skipped and says what it lacks; with CI=true it runs and fails instead.
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

/** Folders that hold system programs but are not on every user's PATH. */
const SYSTEM_FOLDERS = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/** False when everything is there, for tap's `skip` option; otherwise what is missing. `root` means uid 0, all other names are programs. */
export function requires(...needed: readonly string[]): false | string {
  const missing = needed.filter((need) => (need === "root" ? process.getuid?.() !== 0 : findProgram(need) === null));
  if (missing.length === 0 || process.env["CI"] === "true") return false;
  return `needs ${missing.join(", ")}`;
}

/** The path of a program, or null. */
export function findProgram(name: string): string | null {
  const folders = [...(process.env["PATH"] ?? "").split(delimiter), ...SYSTEM_FOLDERS];
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

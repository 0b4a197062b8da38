// Which build this is. A bundle carries the answer as a constant (`__REMORA_BUILD__`, defined by the bundler); a checkout reads package.json and
// .git without starting git.
import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** What `remora version` prints. */
export interface BuildInfo {
  /** From package.json. */
  readonly version: string;
  /** Full commit hash, or "unknown". */
  readonly commit: string;
  /** ISO time of the build, or "not built" when run from source. */
  readonly builtAt: string;
}

declare const __REMORA_BUILD__: BuildInfo | undefined;

let known: BuildInfo | null = null;

/** Version, commit and build time of the running program. */
export function buildInfo(): BuildInfo {
  known ??= typeof __REMORA_BUILD__ === "undefined" ? sourceInfo(dirname(dirname(fileURLToPath(import.meta.url)))) : __REMORA_BUILD__;
  return known;
}

/** The same for the checkout in `folder`; never throws. */
export function sourceInfo(folder: string): BuildInfo {
  return { version: versionIn(folder), commit: commitIn(folder), builtAt: "not built" };
}

function versionIn(folder: string): string {
  try {
    const manifest: unknown = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const version = typeof manifest === "object" && manifest !== null && "version" in manifest ? manifest.version : null;
    return typeof version === "string" ? version : "unknown";
  } catch {
    return "unknown";
  }
}

/** Follows HEAD as gitrepository-layout(5) describes it: loose refs, packed refs, worktrees. */
function commitIn(folder: string): string {
  try {
    const gitFolder = gitFolderOf(folder);
    const head = readFileSync(join(gitFolder, "HEAD"), "utf8").trim();
    const ref = /^ref: (refs\/[\w./-]+)$/.exec(head)?.[1];
    return (ref === undefined ? hash(head) : resolveRef(gitFolder, ref)) ?? "unknown";
  } catch {
    return "unknown";
  }
}

function gitFolderOf(folder: string): string {
  const path = join(folder, ".git");
  if (statSync(path).isDirectory()) return path;
  return resolve(
    folder,
    readFileSync(path, "utf8")
      .replace(/^gitdir: /, "")
      .trim(),
  );
}

function resolveRef(gitFolder: string, ref: string): string | null {
  const commonFile = join(gitFolder, "commondir");
  const common = existsSync(commonFile) ? resolve(gitFolder, readFileSync(commonFile, "utf8").trim()) : gitFolder;
  if (existsSync(join(common, ref))) return hash(readFileSync(join(common, ref), "utf8").trim());
  const packed = readFileSync(join(common, "packed-refs"), "utf8");
  const line = packed.split("\n").find((candidate) => candidate.endsWith(` ${ref}`));
  return line === undefined ? null : hash(line.split(" ")[0] ?? "");
}

function hash(text: string): string | null {
  return /^[0-9a-f]{40}(?:[0-9a-f]{24})?$/.test(text) ? text : null;
}

// Builds of earlier releases, for tests of version skew: the very code that was, taken from the project's history, run by today's Node with today's
// packages. The project has had one version number so far, so a build is named by its commit, and says so in its heartbeats.
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Test } from "tap";
import { temporaryFolder } from "../support/temporary-folder.ts";

const REPOSITORY = resolve(import.meta.dirname, "../..");
/** The clone may belong to another user than the one who runs the tests. */
const ANY_OWNER = ["-c", "safe.directory=*"];
const MAX_ARCHIVE_BYTES = 256 * 1024 * 1024;

/** An earlier build. */
export interface OldBuild {
  /** Full hash. */
  readonly commit: string;
  /** What it can do, and what is told apart by testing it. */
  readonly what: string;
}

/** Two builds back. */
export const FIRST_VERTICAL: OldBuild = {
  commit: "12d758e9c46df58016923d58591fb0cced8623a8",
  what: "the first vertical: node:http and http-proxy alone, messages by the reflection of protobufjs, no routes or deadlines",
};

/** The build before today's. */
export const SPLICED_HTTP1: OldBuild = {
  commit: "b619bb2bd850f379c312e35fba986b48a666b011",
  what: "HTTP/1.1 spliced, workers; HTTP/2 and gRPC by node:http2",
};

/** `0.1.0-12d758e`. */
export function versionOf({ commit }: OldBuild): string {
  return `0.1.0-${commit.slice(0, 7)}`;
}

/** Why a build cannot be taken from the history, or null. A shallow clone has none: `git fetch --unshallow` gets it. */
export function missingHistory({ commit }: OldBuild): string | null {
  try {
    execFileSync("git", [...ANY_OWNER, "cat-file", "-e", `${commit}^{commit}`], { cwd: REPOSITORY, stdio: "pipe" });
    return null;
  } catch (error) {
    const isShallow = shallow();
    return `the history does not hold commit ${commit}${isShallow ? ", as this clone is shallow: git fetch --unshallow" : `: ${String(error)}`}`;
  }
}

function shallow(): boolean {
  try {
    return (
      execFileSync("git", [...ANY_OWNER, "rev-parse", "--is-shallow-repository"], {
        cwd: REPOSITORY,
        encoding: "utf8",
        stdio: "pipe",
      }).trim() === "true"
    );
  } catch {
    return false;
  }
}

/** Puts the build into a folder of the test and gives the path of its `bin/remora`. @throws Error with {@link missingHistory} */
export function takeOldBuild(t: Test, build: OldBuild): string {
  const missing = missingHistory(build);
  if (missing !== null) throw new Error(missing);
  const folder = join(temporaryFolder(t), versionOf(build));
  mkdirSync(folder);
  const archive = execFileSync("git", [...ANY_OWNER, "archive", "--format=tar", build.commit], {
    cwd: REPOSITORY,
    maxBuffer: MAX_ARCHIVE_BYTES,
  });
  execFileSync("tar", ["-x", "-C", folder], { input: archive });
  symlinkSync(join(REPOSITORY, "node_modules"), join(folder, "node_modules"));
  const manifest = join(folder, "package.json");
  const described = JSON.parse(readFileSync(manifest, "utf8")) as object;
  writeFileSync(manifest, JSON.stringify({ ...described, version: versionOf(build) }));
  return join(folder, "bin", "remora");
}

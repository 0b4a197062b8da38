import { execFileSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { buildInfo, sourceInfo } from "../../core/build-info.ts";
import { requires } from "../support/requires.ts";

t.test("the running program knows its version", async (t) => {
  const { version, commit, builtAt } = buildInfo();
  t.match(version, /^\d+\.\d+\.\d+/);
  t.match(commit, /^([0-9a-f]{40}|unknown)$/);
  t.equal(builtAt, "not built");
});

t.test("a checkout's commit is found without git: loose, packed, detached, in a worktree", { skip: requires("git") }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "remora-build-"));
  t.teardown(() => rm(folder, { recursive: true }));
  const git = (...args: string[]) =>
    execFileSync("git", ["-C", join(folder, "repo"), "-c", "user.name=x", "-c", "user.email=x@example.com", ...args], {
      encoding: "utf8",
      stdio: "pipe",
    }).trim();
  execFileSync("git", ["init", "-q", "-b", "feature/x", join(folder, "repo")]);
  await writeFile(join(folder, "repo", "package.json"), JSON.stringify({ version: "9.8.7" }));
  t.same(sourceInfo(join(folder, "repo")), { version: "9.8.7", commit: "unknown", builtAt: "not built" }, "no commit yet");

  git("commit", "-q", "--allow-empty", "-m", "one");
  const commit = git("rev-parse", "HEAD");
  t.equal(sourceInfo(join(folder, "repo")).commit, commit);
  git("worktree", "add", "-q", "-b", "other", join(folder, "tree"));
  t.equal(sourceInfo(join(folder, "tree")).commit, commit);
  git("pack-refs", "--all");
  t.equal(sourceInfo(join(folder, "repo")).commit, commit);
  git("checkout", "-q", "--detach");
  t.equal(sourceInfo(join(folder, "repo")).commit, commit);
});

t.test("a folder that is no checkout is unknown, not an error", async (t) => {
  t.same(sourceInfo("/nowhere"), { version: "unknown", commit: "unknown", builtAt: "not built" });
});

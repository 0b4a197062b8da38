// The suites of tests: which files each has, how many run at once, and how long one may take. `npm test` has all files that no other suite has.
import { globSync } from "node:fs";
import { availableParallelism } from "node:os";
import { resolve } from "node:path";

/** The project's folder. */
export const REPOSITORY = resolve(import.meta.dirname, "../..");

/** How the files of one suite are run. */
export interface Suite {
  /** Below the repository, with a slash at its end. */
  readonly folder: string;
  /** How many files run at once. */
  readonly jobs: number;
  /** A file that takes longer is ended and has failed. */
  readonly deadlineMs: number;
}

/** Most files wait as much as they compute. More at once end no sooner: the cores are busy, and what measures a moment has to wait for them. */
const USUAL_JOBS = availableParallelism() + 1;

export const SUITES: Readonly<Record<string, Suite>> = {
  test: { folder: "test/", jobs: USUAL_JOBS, deadlineMs: 360_000 },
  // Each file runs an API server of its own, and has a bound of its own.
  cluster: { folder: "test/cluster/", jobs: availableParallelism(), deadlineMs: 900_000 },
  // Each runs some ten processes.
  skew: { folder: "test/skew/", jobs: availableParallelism(), deadlineMs: 600_000 },
};

/** The suite's files, relative to the repository, in the order of their names. */
export function filesOf(suite: Suite): readonly string[] {
  const inner = Object.values(SUITES).map(({ folder }) => folder);
  const isOwn = (file: string) => !inner.some((folder) => folder.length > suite.folder.length && file.startsWith(folder));
  return globSync(`${suite.folder}**/*.test.ts`, { cwd: REPOSITORY }).filter(isOwn).sort();
}

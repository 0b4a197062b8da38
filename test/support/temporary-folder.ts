// A folder outside the tree for tests whose subjects write in the background. tap's own `testdir` is named after the test, so two runs at the
// same time share it, and it is removed before the subjects are closed.
import { mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Test } from "tap";

/** An empty folder, removed at the end of `t`. */
export function temporaryFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), "remora-test-"));
  t.teardown(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));
  return folder;
}

// The `remora` command as its users start it, for the tests of this folder.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type HelperProcess, startProcess, type Teardown } from "../support/processes.ts";

/** A command may start together with many others on a slow machine. */
const RUN_TIMEOUT_MS = 60_000;
/** So may a control plane. */
const START_TIMEOUT_MS = 40_000;
const REMORA = join(import.meta.dirname, "..", "..", "bin", "remora");

/** Starts it; the environment is `env` and a PATH. */
export function remora(t: Teardown, args: readonly string[], env: Readonly<Record<string, string>> = {}): HelperProcess {
  return startProcess(t, REMORA, { args, env: { HOME: "/nonexistent", ...env } });
}

/** Runs it to its end. */
export async function ranRemora(t: Teardown, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const run = remora(t, args, env);
  const code = await run.exit(RUN_TIMEOUT_MS);
  return { code, text: run.lines.join("\n") };
}

/** A folder that goes with the test. */
export function temporaryFolder(t: Teardown): string {
  const folder = mkdtempSync(join(tmpdir(), "remora-cli-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A control plane on free ports, with its own state folder. */
export async function startedControl(t: Teardown, env: Readonly<Record<string, string>> = {}) {
  const stateDir = temporaryFolder(t);
  const control = remora(t, ["control", "--state-dir", stateDir, "--grpc-port", "0", "--admin-port", "0"], env);
  const [, grpc = "", admin = ""] = await control.line(/"ports":\{"grpc":(\d+),"admin":(\d+).*control plane ready/, START_TIMEOUT_MS);
  return { control, stateDir, grpcPort: Number(grpc), adminPort: Number(admin) };
}

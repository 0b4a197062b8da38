// Runs iptables for both families: read what is there, apply a text as one transaction. Owns the binaries' names and turns their failures into
// sentences that say what to install or change; what the rules are is rules.ts.
import { spawnSync } from "node:child_process";
import { CaptureError } from "./capture-error.ts";
import { type Family, type PresentRules, parsePresent } from "./rules.ts";

/** Which flavour of iptables to run: `default` is the system's choice (nft on current systems). */
export type Backend = "default" | "nft" | "legacy";

/** What a finished command left behind. `status` is null when it could not be started (`missing`) or was killed. */
export interface CommandResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly missing: boolean;
}

/** Runs a command to its end; argument of {@link createIptables} so that tests own it. */
export type RunCommand = (command: string, args: readonly string[], input: string) => CommandResult;

export interface Iptables {
  /** Our part of the nat table. @throws CaptureError */
  present(family: Family): PresentRules;
  /** Applies text for iptables-restore, all or nothing. @throws CaptureError */
  apply(family: Family, text: string): void;
}

/** A restore takes milliseconds; the xtables lock (legacy only) is waited for, and nothing waits for ever. */
const LOCK_WAIT_SECONDS = 10;
const COMMAND_TIMEOUT_MS = 20_000;

export function createIptables(backend: Backend, run: RunCommand = runCommand): Iptables {
  const binary = (family: Family, verb: "save" | "restore") => {
    const name = family === "ipv4" ? "iptables" : "ip6tables";
    return backend === "default" ? `${name}-${verb}` : `${name}-${backend}-${verb}`;
  };
  return {
    present(family) {
      return parsePresent(finished(binary(family, "save"), run(binary(family, "save"), ["-t", "nat"], "")));
    },
    apply(family, text) {
      const command = binary(family, "restore");
      finished(command, run(command, ["--noflush", "-w", String(LOCK_WAIT_SECONDS)], text));
    },
  };
}

/** The output of a command that succeeded; every other end becomes the error that helps. */
function finished(command: string, result: CommandResult): string {
  if (result.status === 0) return result.stdout;
  if (result.missing) {
    throw new CaptureError(
      "binary_missing",
      `${command} is not installed: install the package "iptables" (it is part of the Remora image)`,
    );
  }
  const said = result.stderr.trim().split("\n").slice(0, 3).join("; ") || `exit status ${result.status}`;
  if (/permission denied|operation not permitted|you must be root/i.test(said)) {
    throw new CaptureError("not_root", `${command}: ${said}. It needs root and the capability NET_ADMIN in the pod's network namespace`);
  }
  if (/not supported|incompatible|initialize|does not exist|no chain\/target\/match|could not fetch rule set|module/i.test(said)) {
    throw new CaptureError(
      "backend_unusable",
      `${command}: ${said}. The kernel lacks what this flavour of iptables needs (nf_nat, xt_REDIRECT, xt_owner): ` +
        "load these modules on the node, or try the other flavour with --backend legacy or --backend nft",
    );
  }
  throw new CaptureError("rules_refused", `${command}: ${said}`);
}

const runCommand: RunCommand = (command, args, input) => {
  // sbin is not on every user's PATH, and an image may have none set at all.
  const env = { ...process.env, PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin:/usr/bin:/bin` };
  const done = spawnSync(command, [...args], { input, encoding: "utf8", timeout: COMMAND_TIMEOUT_MS, env });
  const missing = (done.error as NodeJS.ErrnoException | undefined)?.code === "ENOENT";
  return { status: done.status, stdout: done.stdout ?? "", stderr: done.stderr || (done.error?.message ?? ""), missing };
};

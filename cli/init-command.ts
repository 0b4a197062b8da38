// `remora init`: programs, checks or removes the redirect rules of the pod it runs in (design 5). Owns the four modes and where they may run; the rules,
// the iptables calls and the experiment are in sidecar/capture.
import type { Command } from "commander";
import { environmentName } from "../core/config.ts";
import { ConfigError } from "../core/errors.ts";
import { CaptureError } from "../sidecar/capture/capture-error.ts";
import { type CheckResult, checkRedirect } from "../sidecar/capture/check.ts";
import { type Backend, createIptables, type Iptables } from "../sidecar/capture/iptables.ts";
import { type Ipv6State, readIpv6State } from "../sidecar/capture/ipv6-state.ts";
import { installRules, missingRules, removeRules } from "../sidecar/capture/program.ts";
import { type CaptureSettings, type Family, formatRules } from "../sidecar/capture/rules.ts";
import { describeCheck, describeOutcome } from "./init/report.ts";
import { INIT_FLAGS, initSettings, readInitConfig } from "./init/settings.ts";

export { initSettings } from "./init/settings.ts";

/** What the command touches, so that tests own it. */
export interface InitSurroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly platform: string;
  /** Effective user id. */
  readonly uid: number;
  readonly iptables: (backend: Backend) => Iptables;
  readonly ipv6: () => Ipv6State;
  readonly check: (family: Family, settings: CaptureSettings) => Promise<CheckResult>;
  readonly print: (line: string) => void;
}

interface Flags {
  readonly dryRun?: boolean;
  readonly check?: boolean;
  readonly undo?: boolean;
  readonly [setting: string]: string | boolean | undefined;
}

/** Adds the command. Errors (CaptureError, ConfigError) are thrown out of the action, for the program's one error printer. */
export function register(program: Command, surroundings: InitSurroundings = ownSurroundings()): void {
  const command = program
    .command("init")
    .summary("redirect this pod's traffic to its sidecar (iptables)")
    .description(
      "Programs iptables in this network namespace, for IPv4 and IPv6, so that the pod's TCP traffic passes its sidecar.\n" +
        "Needs root and NET_ADMIN. Running it again changes nothing. Settings come from the environment; flags win.",
    )
    .option("--dry-run", "print the rules, change nothing")
    .option("--check", "verify that a connection really is redirected")
    .option("--undo", "remove everything that init installed");
  for (const [flag, key] of INIT_FLAGS) {
    const setting = initSettings[key];
    command.option(flag, `${setting.doc} (${environmentName(key, setting)})`);
  }
  command.action((flags: Flags) => runInit(flags, surroundings));
}

/** Runs one of the four modes. @throws CaptureError, ConfigError */
export async function runInit(flags: Flags, surroundings: InitSurroundings): Promise<void> {
  const chosen = (["dryRun", "check", "undo"] as const).filter((mode) => flags[mode] === true);
  if (chosen.length > 1) throw new ConfigError("invalid_settings", "only one of --dry-run, --check and --undo makes sense at a time");
  const { settings, backend } = readInitConfig(flags, surroundings.env);
  if (chosen[0] === "dryRun") return printRules(settings, surroundings);

  refuseWhereItCannotWork(settings, surroundings);
  if (chosen[0] === "check") return check(settings, backend, surroundings);
  if (surroundings.uid !== 0) {
    throw new CaptureError(
      "not_root",
      `remora init runs as user ${surroundings.uid}: it needs root and the capability NET_ADMIN to change iptables`,
    );
  }
  const iptables = surroundings.iptables(backend);
  const outcomes =
    chosen[0] === "undo" ? removeRules(iptables, surroundings.ipv6()) : installRules(settings, iptables, surroundings.ipv6());
  for (const outcome of outcomes) for (const line of describeOutcome(outcome, settings)) surroundings.print(line);
}

function refuseWhereItCannotWork(settings: CaptureSettings, surroundings: InitSurroundings): void {
  if (surroundings.platform !== "linux") throw new CaptureError("not_linux", `remora init needs Linux, this is ${surroundings.platform}`);
  if (surroundings.uid === settings.proxyUid) {
    throw new CaptureError(
      "sidecar_uid",
      `remora init runs as user ${surroundings.uid}, the sidecar's own, whose traffic is never captured: run it as root, and apps as another user`,
    );
  }
}

function printRules(settings: CaptureSettings, { print }: InitSurroundings): void {
  for (const [family, command] of [
    ["ipv4", "iptables-restore"],
    ["ipv6", "ip6tables-restore"],
  ] as const) {
    print(`# ${command} --noflush`);
    print(formatRules(family, settings).trimEnd());
  }
}

async function check(settings: CaptureSettings, backend: Backend, surroundings: InitSurroundings): Promise<void> {
  const failures: string[] = [];
  for (const family of surroundings.ipv6() === "off" ? (["ipv4"] as const) : (["ipv4", "ipv6"] as const)) {
    const result = await surroundings.check(family, settings);
    const { isFailure, text } = describeCheck(result);
    surroundings.print(`${family}: ${text}`);
    if (isFailure) failures.push(`${family}: ${text}`);
    // Inbound redirection cannot be tried from inside the pod; that its rules stand can be read, by root only.
    if (surroundings.uid !== 0 || result.kind === "no_route") continue;
    for (const missing of missingRules(family, settings, surroundings.iptables(backend))) {
      surroundings.print(`${family}: ${missing}`);
      failures.push(`${family}: ${missing}`);
    }
  }
  if (failures.length > 0) throw new CaptureError("not_redirected", `traffic is not captured: ${failures.join("; ")}`);
}

function ownSurroundings(): InitSurroundings {
  return {
    env: process.env,
    platform: process.platform,
    uid: process.geteuid?.() ?? -1,
    iptables: createIptables,
    ipv6: readIpv6State,
    check: checkRedirect,
    print: (line) => void process.stdout.write(`${line}\n`),
  };
}

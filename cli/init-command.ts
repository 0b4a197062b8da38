// `remora init`: programs, checks or removes the redirect rules of the pod it runs in (design 5). Owns the flags and the words for people; the rules,
// the iptables calls and the experiment are in sidecar/capture. Flags are laid over the environment, so that one table checks both.
import type { Command } from "commander";
import { environmentName, loadConfig, setting } from "../core/config.ts";
import { ConfigError } from "../core/errors.ts";
import { CaptureError } from "../sidecar/capture/capture-error.ts";
import { type CheckResult, checkRedirect } from "../sidecar/capture/check.ts";
import { type Backend, createIptables, type Iptables } from "../sidecar/capture/iptables.ts";
import { type Ipv6State, readIpv6State } from "../sidecar/capture/ipv6-state.ts";
import { installRules, missingRules, type Outcome, removeRules } from "../sidecar/capture/program.ts";
import { type CaptureSettings, type Family, formatRules, parseCidrs, parsePorts } from "../sidecar/capture/rules.ts";
import { sidecarSettings } from "../sidecar/config.ts";

/** Settings of `remora init`; the injector sets them in the init container's environment. */
export const initSettings = {
  outboundPort: setting.port({ default: 15001, doc: "Port of the sidecar's outbound listener." }),
  inboundPort: setting.port({ default: 15006, doc: "Port of the sidecar's inbound listener." }),
  adminPort: setting.port({ default: 15020, doc: "Port of the sidecar's admin server; reached directly, never captured." }),
  proxyUid: setting.integer({ default: 1337, doc: "User id whose traffic is not captured: the sidecar's." }),
  skipInboundPorts: setting.list({ default: [], doc: "Ports whose inbound connections go straight to the app." }),
  skipOutboundPorts: setting.list({ default: [], doc: "Ports whose outbound connections are left alone." }),
  skipOutboundCidrs: setting.list({ default: [], doc: "Networks (IPv4 or IPv6, in CIDR notation) to which connections are left alone." }),
  iptablesBackend: setting.choice({
    values: ["default", "nft", "legacy"] as const,
    default: "default",
    doc: "Which flavour of iptables to run.",
  }),
};

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

const FLAG_SETTINGS: ReadonlyArray<readonly [flag: string, name: string, env: string]> = [
  ["--outbound-port <port>", "outboundPort", "REMORA_OUTBOUND_PORT"],
  ["--inbound-port <port>", "inboundPort", "REMORA_INBOUND_PORT"],
  ["--admin-port <port>", "adminPort", "REMORA_ADMIN_PORT"],
  ["--proxy-uid <uid>", "proxyUid", "REMORA_PROXY_UID"],
  ["--skip-inbound-ports <ports>", "skipInboundPorts", "REMORA_SKIP_INBOUND_PORTS"],
  ["--skip-outbound-ports <ports>", "skipOutboundPorts", "REMORA_SKIP_OUTBOUND_PORTS"],
  ["--skip-outbound-cidrs <cidrs>", "skipOutboundCidrs", "REMORA_SKIP_OUTBOUND_CIDRS"],
  ["--backend <flavour>", "backend", "REMORA_IPTABLES_BACKEND"],
];

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
  for (const [flag, name, env] of FLAG_SETTINGS) command.option(flag, `${initSettings[tableKey(name)].doc} (${env})`);
  command.action((flags: Flags) => runInit(flags, surroundings));
}

/** Runs one of the four modes. @throws CaptureError, ConfigError */
export async function runInit(flags: Flags, surroundings: InitSurroundings): Promise<void> {
  const chosen = (["dryRun", "check", "undo"] as const).filter((mode) => flags[mode] === true);
  if (chosen.length > 1) throw new ConfigError("invalid_settings", "only one of --dry-run, --check and --undo makes sense at a time");
  const { settings, backend } = readSettings(flags, surroundings.env);
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
  for (const outcome of outcomes) for (const line of describe(outcome, settings)) surroundings.print(line);
}

function readSettings(flags: Flags, env: InitSurroundings["env"]): { settings: CaptureSettings; backend: Backend } {
  const overlaid: Record<string, string | undefined> = { ...env };
  for (const [, name, variable] of FLAG_SETTINGS) {
    const value = flags[name];
    if (typeof value === "string") overlaid[variable] = value;
  }
  // `--check` is also run in a sidecar's container, whose environment holds the sidecar's settings.
  const alsoKnown = Object.entries(sidecarSettings).map(([key, declared]) => environmentName(key, declared));
  const values = loadConfig("remora init", initSettings, overlaid, { alsoKnown });
  const settings: CaptureSettings = {
    outboundPort: values.outboundPort,
    inboundPort: values.inboundPort,
    adminPort: values.adminPort,
    proxyUid: values.proxyUid,
    skipInboundPorts: parsePorts("REMORA_SKIP_INBOUND_PORTS", values.skipInboundPorts),
    skipOutboundPorts: parsePorts("REMORA_SKIP_OUTBOUND_PORTS", values.skipOutboundPorts),
    skipOutboundCidrs: parseCidrs("REMORA_SKIP_OUTBOUND_CIDRS", values.skipOutboundCidrs),
  };
  refuseNonsense(settings);
  return { settings, backend: values.iptablesBackend };
}

function refuseNonsense(settings: CaptureSettings): void {
  if (settings.proxyUid === 0) {
    throw new ConfigError(
      "invalid_value",
      "REMORA_PROXY_UID: 0 is root; the traffic of every process that runs as root would go uncaptured",
    );
  }
  if (settings.outboundPort === 0 || settings.inboundPort === 0 || settings.adminPort === 0) {
    throw new ConfigError("invalid_value", "outbound, inbound and admin port must be fixed ports (1..65535): the rules name them");
  }
  const ports = [settings.outboundPort, settings.inboundPort, settings.adminPort];
  if (new Set(ports).size < ports.length) {
    throw new ConfigError("invalid_value", `outbound, inbound and admin port must differ, they are ${ports.join(", ")}`);
  }
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

function describe(outcome: Outcome, settings: CaptureSettings): readonly string[] {
  switch (outcome.kind) {
    case "installed":
      return [
        `${outcome.family}: ${outcome.wasPresent ? "rules renewed" : "rules installed"}: ` +
          `outbound TCP to port ${settings.outboundPort} except from user ${settings.proxyUid}, inbound TCP to port ${settings.inboundPort}`,
        ...outcome.text
          .trimEnd()
          .split("\n")
          .map((line) => `  ${line}`),
      ];
    case "removed":
      return [`${outcome.family}: rules removed`];
    case "nothing_to_remove":
      return [`${outcome.family}: no rules of Remora to remove`];
    case "unavailable":
      return [`${outcome.family}: warning: ${outcome.warning}`];
  }
}

async function check(settings: CaptureSettings, backend: Backend, surroundings: InitSurroundings): Promise<void> {
  const failures: string[] = [];
  for (const family of surroundings.ipv6() === "off" ? (["ipv4"] as const) : (["ipv4", "ipv6"] as const)) {
    const result = await surroundings.check(family, settings);
    const { isFailure, text } = verdict(result);
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

function verdict(result: CheckResult): { isFailure: boolean; text: string } {
  switch (result.kind) {
    case "redirected":
      return {
        isFailure: false,
        text: `a connection to ${result.dialled} is redirected and its original destination reads ${result.original}`,
      };
    case "accepted":
      return {
        isFailure: false,
        text: `a connection to ${result.dialled}, which nobody has, is accepted by the listener on the outbound port`,
      };
    case "no_route":
      return { isFailure: false, text: "no route leaves this pod, so there is nothing to capture" };
    case "skipped":
      return { isFailure: true, text: "every test address or port is in a skip list, so the redirect cannot be verified" };
    case "failed":
      return { isFailure: true, text: `a connection to ${result.dialled} is not redirected: ${result.why}` };
  }
}

function tableKey(name: string): keyof typeof initSettings {
  return name === "backend" ? "iptablesBackend" : (name as keyof typeof initSettings); // FLAG_SETTINGS names only keys of the table
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

// `remora rollout`: which sidecar version whom, for the platform team. Owns the words of the command line; what they do is in cli/rollout/. Exit codes,
// for scripts: 0 done, 1 it failed, 2 asked for wrongly, 3 the rollout is halted, 4 a restarted workload does not become ready.
import { type Command, InvalidArgumentError, Option } from "commander";
import { parseDurationMs } from "../core/duration.ts";
import { parsePercentage } from "../core/percentage.ts";

/** What every subcommand takes. */
export interface RolloutFlags {
  readonly kubeconfig?: string;
  readonly controlNamespace: string;
  readonly registry?: readonly string[];
  readonly output: "text" | "json";
  readonly dryRun?: boolean;
}

/** Of `set`. */
export interface SetFlags extends RolloutFlags {
  readonly percent: number;
  readonly resume?: boolean;
  readonly remove?: boolean;
}

/** Of `promote`. */
export interface PromoteFlags extends RolloutFlags {
  readonly force?: boolean;
  readonly to?: string;
  readonly percent: number;
}

/** Of `restart`. */
export interface RestartFlags extends RolloutFlags {
  readonly namespace?: string;
  readonly pace: number | null;
  readonly maxUnavailable: number;
  readonly interval: number;
  readonly observe: number | null;
  readonly settle: number;
  readonly promote?: boolean;
}

/** Adds the command. */
export function register(program: Command): void {
  const rollout = program
    .command("rollout")
    .summary("roll sidecar versions out by channel, watch them, go back")
    .description(
      "Channels are named versions of the sidecar in the ConfigMap remora-platform. A rollout moves a share of a channel's workloads to a new version;\n" +
        "it halts by itself when that version does worse than the old one.\n" +
        "Exit codes: 0 done, 1 it failed, 2 asked for wrongly, 3 the rollout is halted, 4 a restarted workload does not become ready.",
    );
  withCommon(rollout.command("status"))
    .summary("show versions, how they do, and what is stale")
    .action(async (flags: RolloutFlags) => finish(await (await import("./rollout/status.ts")).showStatus(flags)));
  withCommon(rollout.command("set"))
    .summary("give a channel a version, or a namespace or workload a channel")
    .description(
      "remora rollout set canary=1.5.0 --percent 10\nremora rollout set shop canary\nremora rollout set shop/deployment/web stable",
    )
    .argument("<what>", "CHANNEL=VERSION, NAMESPACE, or NAMESPACE/KIND/NAME")
    .argument("[channel]", "the channel that the namespace or workload is to follow")
    .option("--percent <share>", "share of the channel's workloads that get the new version", parsePercent, 100)
    .option("--resume", "go on though the rollout is halted")
    .option("--remove", "take the namespace or workload off its channel again")
    .option("--dry-run", "change nothing, only say what would happen")
    .action(async (what: string, channel: string | undefined, flags: SetFlags) =>
      finish(await (await import("./rollout/change.ts")).set(what, channel, flags)),
    );
  withCommon(rollout.command("promote"))
    .summary("make the new version the channel's for all of its workloads")
    .option("--force", "also when the rollout is halted")
    .option("--to <channel>", "then also begin to roll the version out on that channel")
    .option("--percent <share>", "share of that other channel's workloads", parsePercent, 100)
    .option("--dry-run", "change nothing, only say what would happen")
    .action(async (flags: PromoteFlags) => finish(await (await import("./rollout/change.ts")).promoteChannel(flags)));
  withCommon(rollout.command("abort"))
    .summary("go back to the old version")
    .option("--dry-run", "change nothing, only say what would happen")
    .action(async (flags: RolloutFlags) => finish(await (await import("./rollout/change.ts")).abortRollout(flags)));
  withCommon(rollout.command("restart"))
    .summary("restart workloads whose sidecars are stale, at a pace")
    .description(
      "Restarts Deployments, StatefulSets and DaemonSets whose pods have another version than they should, as `kubectl rollout restart` does.\n" +
        "In a rollout the new version is watched meanwhile; when it does worse, the rollout is halted and nothing more is restarted.",
    )
    .option("-n, --namespace <name>", "only workloads of this namespace")
    .option("--pace <rate>", 'restarts per time, such as 5/min or 1/s (default: "pace" of the platform)', parsePace, null)
    .option("--max-unavailable <count>", "workloads under way at once", parseCount, 1)
    .option("--interval <duration>", "time between two looks", parseDuration, 5_000)
    .option("--observe <duration>", 'how long to watch at the end (default: "observe" of the platform)', parseDuration, null)
    .option("--settle <duration>", "how long a workload may take to become ready", parseDuration, 10 * 60_000)
    .option("--promote", "promote the rollout when all went well")
    .option("--dry-run", "only say what would be restarted, in which order")
    .action(async (flags: RestartFlags) => finish(await (await import("./rollout/restart.ts")).restart(flags)));
}

function finish(code: number): void {
  process.exitCode = code;
}

function withCommon(command: Command): Command {
  return command
    .option("--kubeconfig <file>", "kubeconfig to use (default: $KUBECONFIG, ~/.kube/config, or the pod's own)")
    .option("--control-namespace <name>", "the control plane's namespace", "remora-system")
    .option("--registry <url>", "address of a registry's admin port; may be repeated (default: through the API server)", collectUrls)
    .addOption(new Option("-o, --output <how>", "how to print").choices(["text", "json"]).default("text"));
}

function collectUrls(text: string, before: readonly string[] = []): readonly string[] {
  if (!/^https?:\/\/[^/]+\/?$/.test(text)) throw new InvalidArgumentError("a URL such as http://127.0.0.1:15014 is expected");
  return [...before, text.replace(/\/$/, "")];
}

/** `10` and `10%` mean the same. */
function parsePercent(text: string): number {
  return Number((orInvalid(() => parsePercentage(text.endsWith("%") ? text : `${text}%`)) * 100).toFixed(3));
}

function parseDuration(text: string): number {
  return orInvalid(() => parseDurationMs(text));
}

/** `5/min` as the time between two. */
function parsePace(text: string): number {
  const match = /^([1-9][0-9]{0,5})\/(s|min|h)$/.exec(text);
  if (match === null) throw new InvalidArgumentError("a rate such as 1/s, 5/min or 20/h is expected");
  const unitMs = { s: 1000, min: 60_000, h: 3600_000 }[match[2] as "s" | "min" | "h"];
  return unitMs / Number(match[1]);
}

function parseCount(text: string): number {
  if (!/^[1-9][0-9]{0,5}$/.test(text)) throw new InvalidArgumentError("a whole number from 1 is expected");
  return Number(text);
}

function orInvalid<Value>(parse: () => Value): Value {
  try {
    return parse();
  } catch (error) {
    throw new InvalidArgumentError(error instanceof Error ? error.message : String(error));
  }
}

// `remora check`: says whether a cluster is ready for Remora (`--pre`), or whether the Remora in it is well; of what is not, why and the command that mends it.
import { setTimeout as sleep } from "node:timers/promises";
import { type Command, InvalidArgumentError, Option } from "commander";
import { parseDurationMs } from "../core/duration.ts";
import { changeInstallation, readInstallation } from "../injector/installation.ts";
import { connectApi } from "./check/api.ts";
import type { Check } from "./check/check.ts";
import { createCluster } from "./check/cluster.ts";
import { CHECKS } from "./check/checks.ts";
import { formatJson, formatText } from "./check/format.ts";
import { isHealthy, type Outcome, runChecks } from "./check/run-checks.ts";
import { registryAt } from "./explain/registry-view.ts";
import { baseFolder } from "./install-command.ts";
import { createPaint } from "./paint.ts";

const AGAIN_MS = 2_000;
const EXIT_UNHEALTHY = 1;
const EXIT_NOT_RUN = 2;

interface CheckFlags {
  readonly pre?: boolean;
  readonly namespace: string;
  readonly output: "text" | "json";
  readonly wait: number;
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly controlAddress?: string;
}

/** Adds the command. */
export function register(program: Command): void {
  program
    .command("check")
    .summary("check that Remora can be installed, or that it works")
    .description(
      "Checks the installation in a cluster, from the API server to each sidecar, with the rights of your kubeconfig. It changes nothing.\n" +
        "Ends with 0 when all is well or only warnings are left, with 1 when something is not, or could not be looked at, and with 2 when no check could be made.",
    )
    .option("--pre", "check whether Remora can be installed, before it is")
    .option("-n, --namespace <name>", "the control plane's namespace", "remora-system")
    .addOption(new Option("-o, --output <form>", "what to print").choices(["text", "json"]).default("text"))
    .option("--wait <duration>", "go on checking for so long until all is well, such as 1m", parseWait, 0)
    .option("--kubeconfig <file>", "kubeconfig to use")
    .option("--context <name>", "its context to use")
    .option("--control-address <host:port>", "the control plane's admin port; without it, it is asked through the API server", parseAddress)
    .action(async (flags: CheckFlags) => {
      const outcomes = await checkUntil(flags).catch((error: unknown) => {
        process.stderr.write(`remora check: ${reasonOf(error)}\n`);
        return null;
      });
      if (outcomes === null) {
        process.exitCode = EXIT_NOT_RUN;
        return;
      }
      const text = flags.output === "json" ? formatJson(outcomes) : formatText(outcomes, createPaint(process.stdout, process.env));
      await new Promise<void>((resolve) => process.stdout.write(text, () => resolve()));
      process.exitCode = isHealthy(outcomes) ? 0 : EXIT_UNHEALTHY;
    });
}

/** The checks of one moment: before the installation, or after. */
export function checksFor(isBefore: boolean): readonly Check[] {
  return CHECKS.filter(({ when }) => when === "both" || when === (isBefore ? "before" : "after"));
}

/** The first outcomes that are well, or the last when time is over. Rejects when the cluster cannot be asked at all. */
async function checkUntil(flags: CheckFlags): Promise<readonly Outcome[]> {
  const untilMs = performance.now() + flags.wait;
  const api = await connectApi(flags);
  const shipped = changeInstallation(await readInstallation(baseFolder()), [`namespace=${flags.namespace}`]);
  const registry = flags.controlAddress === undefined ? null : registryAt(flags.controlAddress);
  const checks = checksFor(flags.pre === true);
  for (;;) {
    const cluster = createCluster({ api, controlNamespace: flags.namespace, shipped, nowMs: () => Date.now(), registry });
    const isOver = performance.now() + AGAIN_MS > untilMs;
    try {
      await cluster.get("/version");
    } catch (error) {
      if (isOver) throw new Error(`${api.server} cannot be asked: ${reasonOf(error)}`, { cause: error });
      await sleep(AGAIN_MS);
      continue;
    }
    const outcomes = await runChecks(checks, cluster);
    if (isOver || isHealthy(outcomes)) return outcomes;
    await sleep(AGAIN_MS);
  }
}

/** A refused connection to both families of addresses has its reasons inside. */
function reasonOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors[0] instanceof Error) return error.errors[0].message;
  return error instanceof Error ? error.message : String(error);
}

function parseWait(text: string): number {
  try {
    return parseDurationMs(text);
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

function parseAddress(text: string): string {
  if (!/^(?:\[[0-9a-fA-F:.]+\]|[^\s:/]+):\d{1,5}$/.test(text))
    throw new InvalidArgumentError("a host and port such as 127.0.0.1:15014 is expected.");
  return text;
}

// `remora ca`: the keys of the mesh. Owns the words of the command line; what they do is in cli/ca/. Exit codes, for scripts: 0 done, 1 it failed, 2 asked for
// wrongly, 3 a step of a rotation is not safe yet, and nothing was done.
import { type Command, InvalidArgumentError, Option } from "commander";
import type { RotationAction } from "../certs/rotation.ts";
import { parseDurationMs } from "../core/duration.ts";

const ACTIONS: readonly RotationAction[] = ["add", "issue", "remove", "back", "cancel"];

/** What `status` and `rotate` take. */
export interface MeshFlags {
  readonly stateDir?: string;
  readonly kubernetes?: boolean;
  readonly kubeconfig?: string;
  readonly controlNamespace: string;
  readonly control?: readonly string[];
  readonly trustDomain?: string;
  readonly output: "text" | "json";
}

/** Of `rotate`. */
export interface RotateFlags extends MeshFlags {
  readonly plan?: boolean;
  readonly from?: string;
  readonly wait: number;
  readonly cutOffWorkloads?: boolean;
}

/** Of `init`. */
export interface InitFlags {
  readonly out: string;
  readonly trustDomain: string;
  readonly rootTtl: number;
  readonly issuerTtl: number;
  readonly rootFrom?: string;
  readonly oldRoot?: string;
  readonly issuer: boolean;
  readonly secret?: boolean;
  readonly controlNamespace: string;
}

/** Adds the command. */
export function register(program: Command): void {
  const ca = program
    .command("ca")
    .summary("make, show and rotate the mesh's root")
    .description(
      "The keys of the mesh: make them away from it, see what signs, and change the root while everything runs.\n" +
        "Exit codes: 0 done, 1 it failed, 2 asked for wrongly, 3 a step of a rotation is not safe yet and nothing was done.",
    );
  ca.command("init")
    .summary("make a root and an issuer below it, offline")
    .description(
      "Makes root.crt, root.key, issuer.crt and issuer.key (mode 0600) in a folder, and overwrites nothing. The control plane signs with the issuer\n" +
        "(REMORA_CA_CERT_FILE, REMORA_CA_KEY_FILE, REMORA_CA_ROOT_FILE=root.crt); root.key can go to a safe.",
    )
    .requiredOption("--out <folder>", "folder for the files; made when missing")
    .option("--trust-domain <name>", "trust domain of the mesh", "cluster.local")
    .addOption(durationOption("--root-ttl <duration>", "life of the root", "3650d"))
    .addOption(durationOption("--issuer-ttl <duration>", "life of the issuer", "365d"))
    .option("--root-from <folder>", "take root.crt and root.key of this folder instead of making them: a further issuer")
    .option("--old-root <folder>", "also sign the new root with root.crt and root.key of this folder (cross.crt), for a rotation")
    .option("--no-issuer", "make a root alone, that is to sign itself")
    .option("--secret", "also print the Secret remora-ca, without the root's key, for kubectl apply -f -")
    .option("--control-namespace <name>", "the control plane's namespace, for that Secret", "remora-system")
    .action(async (flags: InitFlags) => finish(await (await import("./ca/init.ts")).init(flags)));
  withMesh(ca.command("status"))
    .summary("show roots and issuers, the step of a rotation, and how many live leaves are of which root")
    .action(async (flags: MeshFlags) => finish(await (await import("./ca/status.ts")).showStatus(flags)));
  withMesh(ca.command("rotate"))
    .summary("change the root of a running mesh in three steps: add, issue, remove")
    .description(
      "remora ca rotate --plan     what the three steps are, and what stands in the way of the next one\n" +
        "remora ca rotate add        a new root is made and trusted everywhere; the old one signs\n" +
        "remora ca rotate issue      the new root signs, every workload gets a new certificate; the old one is still trusted\n" +
        "remora ca rotate remove     the old root is trusted no more, and its key forgotten\n" +
        "remora ca rotate back       undoes issue;  remora ca rotate cancel    undoes add\n" +
        "A step that would cut off a live workload is refused (exit code 3).",
    )
    .argument("[step]", "add, issue, remove, back or cancel", parseAction)
    .option("--plan", "change nothing, only say what would happen")
    .option("--from <folder>", "add: the next CA from a folder of `remora ca init`, instead of a new root made here")
    .addOption(durationOption("--wait <duration>", "wait as long as this for the step to be safe", "0s"))
    .option(
      "--cut-off-workloads",
      "TAKE THE STEP THOUGH IT IS NOT SAFE: workloads that are not ready for it LOSE THE MESH until they get a certificate anew",
    )
    .action(async (action: RotationAction | undefined, flags: RotateFlags) =>
      finish(await (await import("./ca/rotate.ts")).rotate(action ?? null, flags)),
    );
}

/** Its value is in ms; help shows the default as it would be written. */
function durationOption(flags: string, description: string, byDefault: string): Option {
  return new Option(flags, description).argParser(parseDuration).default(parseDurationMs(byDefault), byDefault);
}

function finish(code: number): void {
  process.exitCode = code;
}

function withMesh(command: Command): Command {
  return command
    .option(
      "--state-dir <folder>",
      "state folder of the control plane on this machine (default: REMORA_STATE_DIR or ~/.remora, where there is a CA in it)",
    )
    .option("--kubernetes", "the control plane in the cluster, even where there is one on this machine")
    .option("--kubeconfig <file>", "kubeconfig to use (default: $KUBECONFIG, ~/.kube/config, or the pod's own)")
    .option("--control-namespace <name>", "the control plane's namespace", "remora-system")
    .option("--control <url>", "admin port of a control plane; may be repeated, one for each replica (default: found)", collectUrls)
    .option("--trust-domain <name>", "trust domain of the mesh (default: what the control plane says)")
    .addOption(new Option("-o, --output <how>", "how to print").choices(["text", "json"]).default("text"));
}

function collectUrls(text: string, before: readonly string[] = []): readonly string[] {
  if (!/^https?:\/\/[^/]+\/?$/.test(text)) throw new InvalidArgumentError("a URL such as http://127.0.0.1:15014 is expected");
  return [...before, text.replace(/\/$/, "")];
}

function parseAction(text: string): RotationAction {
  const found = ACTIONS.find((action) => action === text);
  if (found === undefined) throw new InvalidArgumentError(`one of ${ACTIONS.join(", ")} is expected`);
  return found;
}

function parseDuration(text: string): number {
  try {
    return parseDurationMs(text);
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

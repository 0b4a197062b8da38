// The `remora` command. Owns the list of commands, the one place where an error becomes a line and an exit code, and nothing of what a command
// does: its module is loaded when it is asked for, so that `remora sidecar` does not pay for the control plane.
import { enableCompileCache } from "node:module";
import { join } from "node:path";
import { Command, CommanderError } from "commander";
import { nearestName } from "../core/nearest.ts";
import { errorText } from "./error-text.ts";

/** Exit codes: 0 done, 1 it failed, 2 it was asked for wrongly. `remora run` exits with its command's own code. */
const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

interface CommandModule {
  /** Adds the command to the program. */
  register(program: Command): void;
}

interface CommandEntry {
  readonly summary: string;
  readonly load: () => Promise<CommandModule>;
}

const COMMANDS: Readonly<Record<string, CommandEntry>> = {
  control: { summary: "run the control plane: CA, registry and injector", load: () => import("./control-command.ts") },
  ca: { summary: "make, show and rotate the mesh's root", load: () => import("./ca-command.ts") },
  token: { summary: "make a one-time token with which a sidecar joins the mesh", load: () => import("./token-command.ts") },
  run: { summary: "run a local program with a sidecar next to it", load: () => import("./run-command.ts") },
  sidecar: { summary: "run a sidecar (what the injector puts into pods)", load: () => import("./sidecar-command.ts") },
  init: { summary: "redirect this pod's traffic to its sidecar (iptables)", load: () => import("./init-command.ts") },
  wait: { summary: "wait until the sidecar of this pod is ready", load: () => import("./wait-command.ts") },
  inject: { summary: "add the sidecar to Kubernetes manifests", load: () => import("./inject-command.ts") },
  uninject: { summary: "take the sidecar out of Kubernetes manifests", load: () => import("./uninject-command.ts") },
  annotations: { summary: "list the annotations of namespaces and pods", load: () => import("./annotations-command.ts") },
  check: { summary: "check that Remora can be installed, or that it works", load: () => import("./check-command.ts") },
  explain: { summary: "say what the injector does with a workload, and why", load: () => import("./explain-command.ts") },
  rollout: { summary: "roll sidecar versions out by channel, watch them, go back", load: () => import("./rollout-command.ts") },
  audit: { summary: "check and read the audit trail of a control plane", load: () => import("./audit-command.ts") },
  install: { summary: "print the Kubernetes objects of the control plane", load: () => import("./install-command.ts") },
  version: { summary: "print version, commit and build date", load: () => import("./version-command.ts") },
};

// From a checkout, stripping types and compiling takes most of a start: what was done once is kept, in a folder that nobody else can write.
if (import.meta.filename.endsWith(".ts")) enableCompileCache(join(import.meta.dirname, "..", "node_modules", ".cache", "remora"));
// Whoever reads the output may have seen enough (`remora init --dry-run | head`).
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});
const code = await main(process.argv.slice(2));
// What failed may have left sockets and timers behind; a command that worked ends by itself, or runs on (`remora sidecar`).
if (code === 0) process.exitCode = 0;
else process.exit(code);

async function main(words: readonly string[]): Promise<number> {
  const program = createProgram();
  const asked = words[0] === "help" && words[1] !== undefined ? words[1] : words.find((word) => !word.startsWith("-"));
  try {
    if (asked === undefined || asked === "help") return printHelp(program);
    const entry = Object.hasOwn(COMMANDS, asked) ? COMMANDS[asked] : undefined;
    if (entry === undefined) return refuseUnknown(asked);
    (await entry.load()).register(program);
    for (const command of program.commands) command.exitOverride();
    await program.parseAsync(words[0] === "help" ? [asked, "--help"] : words, { from: "user" });
    return Number(process.exitCode ?? 0);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
    process.stderr.write(`remora ${asked ?? ""}: ${errorText(error)}\n`);
    return EXIT_FAILED;
  }
}

function createProgram(): Command {
  return new Command("remora")
    .description("A service mesh that rides along: mutual TLS, signed gRPC, local limits and a live registry for unmodified workloads.")
    .enablePositionalOptions()
    .helpCommand(false)
    .exitOverride();
}

function printHelp(program: Command): number {
  for (const [name, { summary }] of Object.entries(COMMANDS)) program.command(name).summary(summary).description(summary);
  program.addHelpText("after", "\nremora COMMAND --help explains a command.");
  process.stdout.write(program.helpInformation());
  process.stdout.write("\nremora COMMAND --help explains a command.\n");
  return 0;
}

function refuseUnknown(asked: string): number {
  const near = nearestName(asked, Object.keys(COMMANDS));
  process.stderr.write(
    `remora: there is no command "${asked}"${near === null ? "" : `, did you mean "${near}"?`} (remora --help lists them)\n`,
  );
  return EXIT_USAGE;
}

// `remora install`: prints the Kubernetes objects of the control plane, ready for `kubectl apply -f -`.
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { changeInstallation, describeChoices, formatInstallation, readInstallation } from "../injector/installation.ts";

const BASE = fileURLToPath(new URL("../manifests/base", import.meta.url));

/** Adds the command. */
export function register(program: Command): void {
  program
    .command("install")
    .summary("print the Kubernetes objects of the control plane")
    .description(
      "Prints the objects of manifests/base, with values changed on request, for `kubectl apply -f -`. It changes nothing itself.",
    )
    .option("--set <key=value>", "change a value; may be repeated", (text: string, before: readonly string[] = []) => [...before, text])
    .addHelpText("after", `\nKeys of --set:\n${describeChoices()}\n`)
    .action(async (flags: { readonly set?: readonly string[] }) => {
      const text = formatInstallation(changeInstallation(await readInstallation(BASE), flags.set ?? []));
      await new Promise<void>((resolve) => process.stdout.write(text, () => resolve()));
    });
}

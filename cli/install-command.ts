// `remora install`: prints the Kubernetes objects of the control plane, ready for `kubectl apply -f -`.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { ConfigError } from "../core/errors.ts";
import { changeInstallation, describeChoices, formatInstallation, readInstallation } from "../injector/installation.ts";

/** Beside cli/ in a checkout, beside chunks/ or the entry in a bundle. */
const PLACES = ["../manifests/base", "./manifests/base"];

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
      const text = formatInstallation(changeInstallation(await readInstallation(baseFolder()), flags.set ?? []));
      await new Promise<void>((resolve) => process.stdout.write(text, () => resolve()));
    });
}

/** Where the manifests are. @throws ConfigError in a build without them */
export function baseFolder(): string {
  const found = PLACES.map((place) => fileURLToPath(new URL(place, import.meta.url))).find((path) => existsSync(path));
  if (found === undefined)
    throw new ConfigError("invalid_settings", "this build of remora carries no manifests; use those of the repository");
  return found;
}

// `remora version`: which build this is.
import type { Command } from "commander";
import { buildInfo } from "../core/build-info.ts";

/** Adds the command. */
export function register(program: Command): void {
  program
    .command("version")
    .summary("print version, commit and build date")
    .description("Prints the version, the commit it was built from and when it was built.")
    .option("-o, --output <format>", "text or json", "text")
    .action(({ output }: { readonly output: string }) => {
      const info = buildInfo();
      if (output === "json") return void process.stdout.write(`${JSON.stringify(info)}\n`);
      process.stdout.write(`remora ${info.version}\ncommit ${info.commit}\nbuilt  ${info.builtAt}\nnode   ${process.version}\n`);
    });
}

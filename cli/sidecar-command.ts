// `remora sidecar`: the data plane process. All its settings come from the environment (sidecar/config.ts), because the injector and `remora run`
// are who start it.
import type { Command } from "commander";

/** Adds the command. */
export function register(program: Command): void {
  program
    .command("sidecar")
    .summary("run a sidecar (what the injector puts into pods)")
    .description(
      "Runs the sidecar of one workload. It is normally started by the injector's container or by `remora run`;\n" +
        "its settings are REMORA_* in the environment, listed in the README. SIGTERM drains it.",
    )
    .action(async () => {
      // Started by `remora run`: when that is gone, however it ended, the sidecar drains too.
      process.once("disconnect", () => process.kill(process.pid, "SIGTERM"));
      const { main } = await import("../sidecar/main.ts");
      await main();
    });
}

// `remora wait`: returns when the sidecar next door is ready. Used as a postStart hook where the sidecar is an ordinary container, so that the app
// starts after it, and in scripts.
import type { Command } from "commander";
import { parseDurationMs } from "../core/duration.ts";
import { ConfigError } from "../core/errors.ts";
import { waitUntilReady } from "./wait-until-ready.ts";

const DEFAULT_ADMIN_PORT = "15020";

/** Adds the command. */
export function register(program: Command): void {
  program
    .command("wait")
    .summary("wait until the sidecar of this pod is ready")
    .description("Returns 0 as soon as the sidecar (or control plane) answers /ready on its admin port, 1 when the time is over.")
    .option("--timeout <duration>", "how long to wait, with a unit", "60s")
    .option("--admin-port <port>", "its admin port (REMORA_ADMIN_PORT)", process.env["REMORA_ADMIN_PORT"] ?? DEFAULT_ADMIN_PORT)
    .option("--host <address>", "where it is", "127.0.0.1")
    .action(async ({ timeout, adminPort, host }: Readonly<Record<string, string>>) => {
      await waitUntilReady({ host: host ?? "127.0.0.1", port: parsePort(adminPort ?? ""), timeoutMs: parseTimeout(timeout ?? "") });
    });
}

function parsePort(text: string): number {
  const port = Number(text);
  if (!/^[0-9]+$/.test(text) || port < 1 || port > 65535)
    throw new ConfigError("invalid_value", `--admin-port: ${text} is no port (1 to 65535)`);
  return port;
}

function parseTimeout(text: string): number {
  try {
    return parseDurationMs(text);
  } catch (error) {
    throw new ConfigError("invalid_value", `--timeout: ${(error as Error).message}`);
  }
}

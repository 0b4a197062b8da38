// `remora wait`: returns when the sidecar next door is ready, or when the app next door has ended. Used as postStart and preStop hooks where the sidecar is
// an ordinary container, so that the app starts after it and ends before it, and in scripts.
import type { Command } from "commander";
import { parseDurationMs } from "../core/duration.ts";
import { ConfigError } from "../core/errors.ts";
import { waitForAppEnd } from "./app-end.ts";
import { waitUntilReady } from "./wait-until-ready.ts";

const DEFAULT_ADMIN_PORT = "15020";

interface WaitFlags {
  readonly timeout: string;
  readonly adminPort: string;
  readonly host: string;
  readonly forAppEnd?: boolean;
}

/** Adds the command. */
export function register(program: Command): void {
  program
    .command("wait")
    .summary("wait until the sidecar of this pod is ready")
    .description(
      "Returns 0 as soon as the sidecar (or control plane) answers /ready on its admin port, 1 when the time is over.\n" +
        "With --for-app-end, tells the mesh that this workload ends, and returns 0 as soon as no other program of the pod uses the network, or when the time is over.",
    )
    .option("--for-app-end", "wait for the other programs of the pod to end instead")
    .option("--timeout <duration>", "how long to wait, with a unit", "60s")
    .option("--admin-port <port>", "its admin port (REMORA_ADMIN_PORT)", process.env["REMORA_ADMIN_PORT"] ?? DEFAULT_ADMIN_PORT)
    .option("--host <address>", "where it is", "127.0.0.1")
    .action(async ({ timeout, adminPort, host, forAppEnd }: WaitFlags) => {
      const [port, timeoutMs] = [parsePort(adminPort), parseTimeout(timeout)];
      if (forAppEnd === true) await waitForAppEnd({ host, adminPort: port, timeoutMs, ownUid: process.getuid?.() ?? -1 });
      else await waitUntilReady({ host, port, timeoutMs });
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

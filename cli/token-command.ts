// `remora token SERVICE`: makes a join token in the state folder of the control plane on this machine. Being able to write there is the proof that
// the caller may; the token is printed once and nothing else is.
import { randomBytes } from "node:crypto";
import type { Command } from "commander";
import { systemClock } from "../core/clock.ts";
import { parseDurationMs } from "../core/duration.ts";
import { ConfigError } from "../core/errors.ts";
import { defaultStateDir } from "./control/config.ts";
import { findAddress } from "./control/local-address.ts";

const DEFAULT_TRUST_DOMAIN = "cluster.local";

interface Flags {
  readonly namespace: string;
  readonly ttl: string;
  readonly for: string;
  readonly stateDir?: string;
}

/** What a token is made for. */
export interface TokenRequest {
  readonly stateDir: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly ttlMs: number;
  readonly purpose: "join" | "heartbeat";
}

/** Adds the command. */
export function register(program: Command): void {
  program
    .command("token")
    .summary("make a one-time token with which a sidecar joins the mesh")
    .description(
      "Makes a token for SERVICE and prints it, alone, on standard output. Run it on the machine, and as the user, of the control plane.\n" +
        "A join token is good for one certificate; pass it to `remora run --token` on the machine where the service runs.",
    )
    .argument("<service>", "service that the sidecar will run as")
    .option("--namespace <namespace>", "its namespace", "default")
    .option("--ttl <duration>", "how long the token can be used, with a unit, at most 30d", "10m")
    .option("--for <purpose>", "join: one sidecar; heartbeat: announcing over REST without a sidecar", "join")
    .option("--state-dir <folder>", "state folder of the control plane (REMORA_STATE_DIR, default ~/.remora)")
    .action(async (service: string, flags: Flags) => {
      if (flags.for !== "join" && flags.for !== "heartbeat")
        throw new ConfigError("invalid_value", `--for: ${flags.for} is neither join nor heartbeat`);
      const token = await makeToken({
        stateDir: flags.stateDir ?? defaultStateDir(process.env),
        namespace: flags.namespace,
        serviceAccount: service,
        ttlMs: parseTtl(flags.ttl),
        purpose: flags.for,
      });
      process.stdout.write(`${token}\n`);
    });
}

/** Makes one token. @throws CertError when no control plane has ever run with that folder, or the names are wrong */
export async function makeToken({ stateDir, namespace, serviceAccount, ttlMs, purpose }: TokenRequest): Promise<string> {
  const { openJoinTokens } = await import("../certs/certificate-authority.ts");
  const trustDomain = (await findAddress(stateDir))?.trustDomain ?? DEFAULT_TRUST_DOMAIN;
  const tokens = await openJoinTokens({ stateDir, trustDomain, clock: systemClock, random: (bytes) => randomBytes(bytes) });
  return tokens.create({ namespace, serviceAccount, ttlMs, purpose });
}

function parseTtl(text: string): number {
  try {
    return parseDurationMs(text);
  } catch (error) {
    throw new ConfigError("invalid_value", `--ttl: ${(error as Error).message}`);
  }
}

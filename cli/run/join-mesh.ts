// How a local sidecar gets into the mesh: which control plane, which token, and where it keeps what it is given.
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { ConfigError } from "../../core/errors.ts";
import { defaultStateDir } from "../control/config.ts";
import { findAddress } from "../control/local-address.ts";
import { makeToken } from "../token-command.ts";

/** Where a control plane on this machine listens, unless its state folder says otherwise. */
export const DEFAULT_CONTROL = "127.0.0.1:15010";
const TOKEN_TTL_MS = 60_000;

/** What the caller said; absent: found out. */
export interface JoinWishes {
  readonly service: string;
  readonly namespace: string;
  readonly appPort: number | null;
  /** `host:port`. */
  readonly control?: string;
  readonly token?: string;
  /** Of the control plane on this machine. */
  readonly stateDir?: string;
}

/** What the sidecar is told. */
export interface Joining {
  readonly joinToken: string;
  readonly controlAddress: string;
  /** The sidecar's own folder. */
  readonly stateDir: string;
  /** Removes what must not outlive the run. */
  cleanUp(): Promise<void>;
}

/**
 * With a token from elsewhere the sidecar's certificate is kept for the next run, because the token works once. Where the control plane is at
 * hand every run gets a new token, and keeping nothing means that a control plane made anew is no trouble.
 */
export async function joinMesh(wishes: JoinWishes, env: NodeJS.ProcessEnv): Promise<Joining> {
  const { appPort, namespace, service } = wishes;
  const given = wishes.token ?? env["REMORA_JOIN_TOKEN"];
  const controlStateDir = wishes.stateDir ?? defaultStateDir(env);
  const local = await findAddress(controlStateDir);
  const localGrpc = local?.ports.grpc ?? null;
  const localAddress = local === null || localGrpc === null ? null : `${reachable(local.host)}:${localGrpc}`;
  const controlAddress = wishes.control ?? localAddress ?? DEFAULT_CONTROL;
  if (given !== undefined) {
    const stateDir = join(homedir(), ".remora", "run", namespace, `${service}-${appPort ?? "client"}`);
    await mkdir(stateDir, { recursive: true, mode: 0o700 });
    return { joinToken: given, controlAddress, stateDir, cleanUp: async () => {} };
  }
  if (local === null) {
    throw new ConfigError(
      "invalid_settings",
      `no control plane runs here (state folder ${controlStateDir}): start \`remora control\`, or give --token from \`remora token ${service}\` and --control`,
    );
  }
  const request = {
    stateDir: controlStateDir,
    namespace,
    serviceAccount: service,
    ttlMs: TOKEN_TTL_MS,
    purpose: "join",
  } as const;
  const joinToken = await makeToken(request);
  const stateDir = await mkdtemp(join(tmpdir(), "remora-run-"));
  return { joinToken, controlAddress, stateDir, cleanUp: () => rm(stateDir, { recursive: true, force: true }) };
}

function reachable(host: string): string {
  if (host === "::" || host === "0.0.0.0") return "127.0.0.1";
  return host.includes(":") ? `[${host}]` : host;
}

// The credential with which commands read a registry that is named to them: REMORA_READ_TOKEN, as the control plane has it.
import type { Environment } from "../core/config.ts";
import type { ReadCredential } from "../injector/rollout/read-credential.ts";

/** Gives the token of `env`; null without one. */
export function environmentCredential(env: Environment): ReadCredential {
  const token = env["REMORA_READ_TOKEN"];
  return () => Promise.resolve(token === undefined || token === "" ? null : token);
}

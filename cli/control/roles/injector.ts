// The role `injector`.
import { ConfigError } from "../../../core/errors.ts";
import type { Checks, RoleSurroundings } from "./role.ts";

/** The running role. */
export interface InjectorRole {
  readonly port: number;
  readonly checks: Checks;
  close(): Promise<void>;
}

/** Starts the webhook. */
export async function startInjectorRole(_options: RoleSurroundings): Promise<InjectorRole> {
  throw new ConfigError("invalid_settings", "the role injector is not part of this build");
}

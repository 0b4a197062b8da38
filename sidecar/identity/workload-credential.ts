// How the workload proves itself, and which mesh it means by that: the credential as it was given, and the pins that go with it.
import { CertError } from "../../core/errors.ts";
import { parseJoinToken } from "../../core/wire/join-token.ts";
import { parsePin } from "../../core/x509/pin.ts";

/** Read anew for each try: the kubelet renews tokens on disk. */
export type WorkloadCredential = { readonly serviceAccountToken: string } | { readonly joinToken: string };

/** A credential that was read. */
export interface ReadCredential {
  readonly kind: "service_account_token" | "join_token";
  readonly token: string;
  /** 64 hex digits each, sorted, no duplicates: those of the settings and that of the join token. */
  readonly pins: readonly string[];
}

/** Throws `CertError`: `unavailable` when it cannot be read (a later try may), `malformed` or `credential_refused` when it makes no sense. */
export async function readCredential(read: () => Promise<WorkloadCredential>, pins: readonly string[]): Promise<ReadCredential> {
  const given = await readGiven(read);
  const isJoin = "joinToken" in given;
  const all = isJoin ? [...pins, parseJoinToken(given.joinToken).pin] : pins;
  const hex = [...new Set(all.map((pin) => parsePin(pin).toString("hex")))].sort();
  return isJoin
    ? { kind: "join_token", token: given.joinToken.trim(), pins: hex }
    : { kind: "service_account_token", token: given.serviceAccountToken.trim(), pins: hex };
}

async function readGiven(read: () => Promise<WorkloadCredential>): Promise<WorkloadCredential> {
  try {
    return await read();
  } catch (cause) {
    if (cause instanceof CertError) throw cause;
    throw new CertError("unavailable", `the workload's credential cannot be read: ${(cause as Error).message}`, { cause });
  }
}

// Where a CA is kept for good, and its making at the first start. Several processes may use one store: what is written is written whole, and only over what its
// writer has read.
import { CertError } from "../core/errors.ts";
import { toPem } from "../core/x509/pem.ts";
import type { AuthorityData, AuthorityState } from "./authority-data.ts";
import { readAuthority } from "./authority-data.ts";
import type { RandomBytes } from "./profile.ts";
import { makeKey, signRoot } from "./profile.ts";
import type { RootMaterial } from "./root.ts";

/** What was read, with what names this very content for {@link RootStore.replace}. */
export interface Kept {
  readonly data: AuthorityData;
  readonly version: string;
}

/** Keeps one CA. */
export interface RootStore {
  /** For messages: the file or Secret. */
  readonly place: string;
  /** Null when there is none yet. */
  load(): Promise<Kept | null>;
  /** Stores `data` unless there is a CA already; gives the one that is stored afterwards. Of racing calls exactly one wins. */
  create(data: AuthorityData): Promise<Kept>;
  /** Replaces what was read as `version`. Throws `CertError("conflict")` when somebody else was faster. */
  replace(data: AuthorityData, version: string): Promise<void>;
}

/** What roots are made for. */
export interface MakeOptions {
  readonly trustDomain: string;
  readonly nowMs: number;
  readonly random: RandomBytes;
}

/** Loads the store's CA, or makes a root at the first start. Throws `CertError` naming the place when it cannot be used. */
export async function loadOrCreateRoot(
  store: RootStore,
  options: MakeOptions,
): Promise<{ readonly state: AuthorityState; readonly kept: Kept; readonly created: boolean }> {
  const stored = await store.load();
  if (stored !== null) return { state: readAuthority(stored.data, store.place, options), kept: stored, created: false };
  const fresh = makeRoot(options);
  const kept = await store.create({ "tls.crt": fresh.certificatePem, "tls.key": fresh.keyPem });
  return { state: readAuthority(kept.data, store.place, options), kept, created: kept.data["tls.key"] === fresh.keyPem };
}

/** A new root of ten years. */
export function makeRoot({ trustDomain, nowMs, random }: MakeOptions): RootMaterial {
  const key = makeKey();
  const keyPem = key.export({ type: "pkcs8", format: "pem" }) as string; // PEM export gives a string; the types allow both
  return { certificatePem: toPem(signRoot(key, trustDomain, nowMs, random), "CERTIFICATE"), keyPem };
}

/** The error of {@link RootStore.replace}. */
export function changedMeanwhile(place: string): CertError {
  return new CertError(
    "conflict",
    `${place} was changed by somebody else meanwhile; nothing was done. Look at it (remora ca status) and ask again`,
  );
}

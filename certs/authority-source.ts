// The CA that is in use, kept up with where it is kept: looked at every few seconds, checked, swapped without a restart. What is changed to something unusable, or
// would cut workloads off, is refused: the CA that was stays, and health says why and since when.
import type { X509Certificate } from "node:crypto";
import type { Clock } from "../core/clock.ts";
import type { Audit } from "../core/audit/audit.ts";
import { CertError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import type { AuthorityState } from "./authority-data.ts";
import { readAuthority } from "./authority-data.ts";
import { auditFieldsOf } from "./authority-status.ts";
import type { Kept } from "./root-store.ts";

/** Where the CA is kept and how it is read. */
export interface AuthorityPlace {
  /** For messages. */
  readonly place: string;
  readonly kind: "folder" | "secret" | "files";
  /** Null when there is none any more. */
  load(): Promise<Kept | null>;
  /** Time between two looks. */
  readonly pollMs: number;
}

/** What keeps a change from being taken. */
export interface ReloadTrouble {
  /** Epoch ms. */
  readonly sinceMs: number;
  readonly message: string;
}

/** The CA in use. */
export interface AuthoritySource {
  readonly place: AuthorityPlace;
  current(): AuthorityState;
  /** Calls `run` after each swap. */
  onChange(run: (state: AuthorityState) => void): () => void;
  /** Epoch ms since which this process signs nothing but leaves of the root that signs now. */
  signsSinceMs(): number;
  /** Null while what is in use is what is kept. */
  trouble(): ReloadTrouble | null;
  /** Looks now; resolves when it is done, or the look that was under way is. */
  look(): Promise<void>;
  close(): void;
}

/** Settings and surroundings of {@link followAuthority}. */
export interface AuthoritySourceOptions {
  readonly place: AuthorityPlace;
  /** What was read at the start. */
  readonly first: { readonly state: AuthorityState; readonly kept: Kept };
  readonly trustDomain: string;
  readonly leafTtlMs: number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly audit: Audit;
}

/** Follows it until `close`. */
export function followAuthority(options: AuthoritySourceOptions): AuthoritySource {
  const { place, clock, log, audit, trustDomain, leafTtlMs } = options;
  const watchers = new Set<(state: AuthorityState) => void>();
  /** By fingerprint of a root that signed until then: epoch ms. */
  const signedUntilMs = new Map<string, number>();
  let { state, kept } = options.first;
  let trouble: ReloadTrouble | null = null;
  /** Set while a look is under way. */
  let looking: Promise<void> | null = null;
  // Who began with it has signed nothing else; the process before may have, until it looked.
  let signsSinceMs = state.sinceMs + 2 * place.pollMs;
  const reloads = options.metrics.counter({
    name: "remora_ca_reloads_total",
    help: "Changes of the CA's certificates and keys where they are kept: taken, or refused.",
    labels: ["result"],
  });
  options.metrics.gauge({
    name: "remora_ca_reload_refused",
    help: "1 while what is kept as the CA is refused and the one before is in use.",
    read: () => (trouble === null ? 0 : 1),
  });
  options.metrics.gauge({
    name: "remora_ca_expires_seconds",
    help: "Seconds until the certificate that signs ends, or its root if that is sooner.",
    read: () => (state.signer.notAfterMs - clock.nowMs()) / 1000,
  });

  function look(): Promise<void> {
    looking ??= lookOnce().finally(() => {
      looking = null;
    });
    return looking;
  }

  async function lookOnce(): Promise<void> {
    try {
      const found = await place.load();
      if (found === null) throw new CertError("unavailable", `${place.place} is gone; the CA that was read from it is still in use`);
      if (found.version !== kept.version) take(found);
      recovered();
    } catch (error) {
      refuse(error);
    }
  }

  function take(found: Kept): void {
    const nowMs = clock.nowMs();
    const next = readAuthority(found.data, place.place, { trustDomain, nowMs });
    // The steps of `remora ca rotate` were judged when they were taken; what others change is judged here.
    const why = found.data["rotation.json"] === undefined ? whyNotNow(next, nowMs) : null;
    if (why !== null) throw new CertError("conflict", `the change of the CA in ${place.place} is not taken: ${why}`);
    if (!next.signer.anchor.raw.equals(state.signer.anchor.raw)) {
      signedUntilMs.set(state.signer.anchor.fingerprint256, nowMs);
      signsSinceMs = nowMs;
    }
    [state, kept] = [next, found];
    reloads.inc({ result: "taken" });
    log.info(
      { place: place.place, step: next.step, roots: next.roots.length, notAfter: new Date(next.signer.notAfterMs).toISOString() },
      "the CA has changed",
    );
    audit.record("ca.changed", auditFieldsOf(next, place.place));
    for (const run of watchers) run(next);
  }

  /** A root is trusted by everybody before it signs, and until its last leaf has ended. */
  function whyNotNow(next: AuthorityState, nowMs: number): string | null {
    if (!includes(state.roots, next.signer.anchor))
      return `its root ${name(next.signer.anchor)} is not among those that the mesh trusts now. Give both roots first, then the new issuer, then the new root alone`;
    const removed = state.roots.filter((root) => !includes(next.roots, root));
    for (const root of removed) {
      const untilMs = root.raw.equals(state.signer.anchor.raw) ? nowMs : (signedUntilMs.get(root.fingerprint256) ?? 0);
      if (untilMs + leafTtlMs > nowMs && untilMs > 0)
        return `leaves of ${name(root)}, which it removes, may live until ${new Date(untilMs + leafTtlMs).toISOString()}`;
    }
    return null;
  }

  function refuse(error: unknown): void {
    const message = (error as Error).message;
    if (trouble?.message === message) return;
    trouble = { sinceMs: trouble?.sinceMs ?? clock.nowMs(), message };
    reloads.inc({ result: "refused" });
    log.error({ err: error, place: place.place }, "the CA that is kept cannot be taken; the one before stays in use");
    audit.record("ca.change_refused", { place: place.place, reason: message });
  }

  function recovered(): void {
    if (trouble !== null) log.info({ place: place.place }, "the CA in use is the one that is kept again");
    trouble = null;
  }

  const timer = clock.every(place.pollMs, () => void look());
  return {
    place,
    current: () => state,
    onChange(run) {
      watchers.add(run);
      return () => void watchers.delete(run);
    },
    signsSinceMs: () => signsSinceMs,
    trouble: () => trouble,
    look,
    close() {
      timer.cancel();
      watchers.clear();
    },
  };
}

function includes(roots: readonly X509Certificate[], wanted: X509Certificate): boolean {
  return roots.some((root) => root.raw.equals(wanted.raw));
}

function name(root: X509Certificate): string {
  return JSON.stringify(root.subject.replaceAll("\n", ", ").slice(0, 100));
}

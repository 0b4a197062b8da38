// The control plane's own certificate: signed by itself, without a credential, and renewed at 70 % of its life. Its chain carries the root,
// which is how a workload that only has a pin finds it (design 7), and that root signed by those before it, which is how one that was away finds it.
import type { X509Certificate } from "node:crypto";
import type { Clock, Timer } from "../core/clock.ts";
import type { Logger } from "../core/log.ts";
import { toPem } from "../core/x509/pem.ts";
import type { SpiffeId } from "../core/spiffe.ts";
import type { IssuanceParts } from "./issuance.ts";
import { sign } from "./issuance.ts";
import { makeKey, spkiOf } from "./profile.ts";
import { toPemChain } from "./root.ts";
import type { TrustState } from "./trust-bundle.ts";

const RENEW_AT_RATIO = 0.7;
/** Timers run at most this long, so that a machine that slept renews soon after it wakes. */
const MAX_SLEEP_MS = 600_000;

/** PEM, as `tls.createSecureContext` takes it. */
export interface ServerTls {
  readonly key: string;
  /** Leaf, issuers, bridges from older roots, the root, older ones. */
  readonly cert: string;
  /** Roots that clients are verified with. */
  readonly ca: string;
}

/** A server's certificate that stays fresh. The two functions fit `startGrpcServer`. */
export interface ServerCredentials {
  tls(): ServerTls;
  /** Calls `run` after a renewal or a change of the roots. Returns the unsubscriber. */
  onTlsChange(run: () => void): () => void;
  close(): void;
}

export function createServerCredentials(
  identity: SpiffeId,
  parts: Pick<IssuanceParts, "random" | "leafTtlMs" | "root"> & {
    readonly clock: Clock;
    readonly trust: TrustState;
    readonly log: Logger;
    /** What is sent above the issuers: see {@link rootsForPeers}. Default: the root. */
    above?(): readonly X509Certificate[];
  },
): ServerCredentials {
  const watchers = new Set<() => void>();
  let current: ServerTls;
  let renewAtMs = 0;
  let timer: Timer | null = null;

  function renew(): void {
    const key = makeKey();
    const { leaf, issuers, notAfterMs } = sign(parts, identity, spkiOf(key), spkiOf(makeKey()));
    const nowMs = parts.clock.nowMs();
    renewAtMs = nowMs + (notAfterMs - nowMs) * RENEW_AT_RATIO;
    current = {
      key: key.export({ type: "pkcs8", format: "pem" }) as string, // PEM export gives a string; the types allow both
      cert: toPem(leaf.raw, "CERTIFICATE") + toPemChain([...issuers, ...(parts.above?.() ?? [parts.root().anchor])]),
      ca: parts.trust.current().rootsPem,
    };
  }

  function sleep(): void {
    const waitMs = Math.min(Math.max(renewAtMs - parts.clock.nowMs(), 1000), MAX_SLEEP_MS);
    timer = parts.clock.after(waitMs, wake);
  }

  function wake(): void {
    if (parts.clock.nowMs() >= renewAtMs) refresh();
    sleep();
  }

  function refresh(): void {
    try {
      renew();
    } catch (error) {
      // Only an expired root gets here; what is served stays until it expires itself.
      parts.log.error({ err: error, identity }, "the control plane's certificate could not be renewed");
      return;
    }
    for (const run of watchers) run();
  }

  renew();
  sleep();
  const stopTrust = parts.trust.onChange(refresh);
  return {
    tls: () => current,
    onTlsChange(run) {
      watchers.add(run);
      return () => void watchers.delete(run);
    },
    close() {
      stopTrust();
      timer?.cancel();
      watchers.clear();
    },
  };
}

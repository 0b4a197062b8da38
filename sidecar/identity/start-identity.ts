// The workload's identity from its first certificate to its last (design 7): learn the mesh's roots, ask for a certificate, renew it at 70 %
// of its life, follow the trust bundle. A swap replaces one reference; open connections keep what they have. With the CA away everything
// goes on with what is held, and tries go on with it.
import type { Clock, Timer } from "../../core/clock.ts";
import { CertError } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import type { Metrics } from "../../core/metrics.ts";
import type { SpiffeId } from "../../core/spiffe.ts";
import { spiffeParts } from "../../core/spiffe.ts";
import type { TrustBundle } from "../../core/wire/identity.ts";
import { parseJoinToken } from "../../core/wire/join-token.ts";
import { isIssuedBy } from "../../core/x509/peer-check.ts";
import { parsePin } from "../../core/x509/pin.ts";
import type { BackoffLimits } from "./backoff.ts";
import { backoffMs, RUNNING, STARTING } from "./backoff.ts";
import type { CertifyCredential } from "./certify.ts";
import { certify } from "./certify.ts";
import type { ControlPlane } from "./control-channel.ts";
import { createControlChannel } from "./control-channel.ts";
import type { Generation } from "./generation.ts";
import { parseRoots, rootsToPem, toCredentials } from "./generation.ts";
import type { ControlChannel, Credentials, IdentitySource } from "./identity-source.ts";
import { openStateFiles } from "./state-files.ts";
import { bootstrapTrust } from "./trust-bootstrap.ts";
import { createTrustWatch } from "./trust-watch.ts";

const RENEW_AT_RATIO = 0.7;
/** Renewals are spread over this much of the life around {@link RENEW_AT_RATIO}. */
const JITTER_RATIO = 0.1;
/** Timers run at most this long: a machine that slept renews soon after it wakes, and a long life does not overflow a timer. */
const MAX_SLEEP_MS = 600_000;

/** How a workload proves itself, read anew for each try. */
export type WorkloadCredential = { readonly serviceAccountToken: string } | { readonly joinToken: string };

/** Settings and surroundings of {@link startIdentity}. */
export interface IdentityOptions {
  /** `host:port` of the control plane's gRPC port. */
  readonly controlAddress: string;
  /** Default `remora-system`. */
  readonly controlNamespace?: string;
  readonly identity: SpiffeId;
  credential(): Promise<WorkloadCredential>;
  /** `sha256:<hex>` of roots; a join token brings its own. */
  readonly pins: readonly string[];
  /** Null keeps nothing over a restart. */
  readonly stateDir: string | null;
  readonly clock: Clock;
  /** 0..1 */
  readonly random: () => number;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Ends the wait for the first certificate. */
  readonly signal?: AbortSignal;
}

/**
 * Resolves with the first certificate, from disk or from the CA, however long that takes; tries again with backoff. Rejects with `CertError` when
 * trying again cannot help: a join token or a request that is refused, a pin that does not match, no pin at all; or when `signal` aborts.
 */
export async function startIdentity(options: IdentityOptions): Promise<IdentitySource> {
  const { clock, identity, log, random } = options;
  const { trustDomain } = spiffeParts(identity);
  const control: ControlPlane = {
    address: options.controlAddress,
    trustDomain,
    namespace: options.controlNamespace ?? "remora-system",
    clock,
  };
  const files = openStateFiles(options.stateDir, log);
  const watchers = new Set<(credentials: Credentials) => void>();
  const closing = new AbortController();
  let isJoined = false;
  let pins: readonly string[] = [];
  let current: Credentials | null = null;
  let channel: ControlChannel | null = null;
  let renewAtMs = 0;
  let failures = 0;
  let isRenewing = false;
  let timer: Timer | null = null;

  function held(): Credentials {
    if (current === null) throw new Error("the identity source is used before its first certificate");
    return current;
  }

  /** The one place where what everybody sees changes. */
  function swap(next: Credentials): void {
    current = next;
    channel = null;
    for (const run of watchers) {
      try {
        run(next);
      } catch (error) {
        log.error({ err: error }, "a listener failed to take the new certificate");
      }
    }
  }

  async function accept(generation: Generation, rootsPem: string): Promise<void> {
    const next = toCredentials(generation, rootsPem, identity, clock.nowMs(), current);
    renewAtMs = renewalTime(next, random);
    swap(next);
    await files.writeTrust({ rootsPem, pins });
    if (isJoined) await files.writeGeneration(generation);
  }

  /** Reads the credential and, with it, which mesh this is. */
  async function readCredential(): Promise<CertifyCredential> {
    const given = await readGiven(options.credential);
    isJoined = "joinToken" in given;
    const ownPin = "joinToken" in given ? [parseJoinToken(given.joinToken).pin] : [];
    pins = [...new Set([...options.pins, ...ownPin].map((pin) => parsePin(pin).toString("hex")))].sort();
    if ("serviceAccountToken" in given) return { kind: "service_account_token", token: given.serviceAccountToken };
    return current === null ? { kind: "join_token", token: given.joinToken } : { kind: "renewal" };
  }

  async function knownRoots(): Promise<string> {
    if (current !== null) return current.rootsPem;
    const stored = await files.readTrust();
    if (stored !== null && stored.pins.join() === pins.join()) return stored.rootsPem;
    return bootstrapTrust(
      control,
      pins.map((pin) => Buffer.from(pin, "hex")),
    );
  }

  async function obtain(): Promise<void> {
    const credential = await readCredential();
    const rootsPem = await knownRoots();
    const certified = await certify(createControlChannel(control, { rootsPem, own: current }), identity, credential);
    await accept(certified.generation, certified.rootsPem);
    log.info({ identity, notAfter: held().leaf.validTo, credential: credential.kind }, "certificate obtained");
  }

  /** A restart of a joined workload: its token is spent, its certificate is not. */
  async function resume(): Promise<void> {
    const generation = await files.readGeneration();
    const trust = await files.readTrust();
    if (generation === null || trust === null) return;
    try {
      await readCredential();
      if (!isJoined || trust.pins.join() !== pins.join()) return;
      await accept(generation, trust.rootsPem);
      log.info({ identity, notAfter: held().leaf.validTo }, "certificate taken from the state folder");
    } catch (error) {
      log.warn({ err: error }, "the certificate in the state folder cannot be used");
    }
  }

  async function obtainFirst(): Promise<void> {
    for (;;) {
      try {
        return await obtain();
      } catch (error) {
        if (isFinal(error, isJoined)) throw error;
        const waitMs = noteFailure(error, STARTING, "no certificate yet");
        await sleep(waitMs, clock, AbortSignal.any([closing.signal, ...(options.signal === undefined ? [] : [options.signal])]));
      }
    }
  }

  function noteFailure(error: unknown, limits: BackoffLimits, message: string): number {
    failures += 1;
    const waitMs = Math.round(backoffMs(failures, limits, random));
    log.warn(
      { detail: (error as Error).message, code: error instanceof CertError ? error.code : "unavailable", failures, waitMs },
      message,
    );
    return waitMs;
  }

  async function renew(): Promise<void> {
    isRenewing = true;
    try {
      await obtain();
      failures = 0;
    } catch (error) {
      const waitMs = noteFailure(error, RUNNING, "the certificate is not renewed yet");
      renewAtMs = clock.nowMs() + waitMs;
    } finally {
      isRenewing = false;
    }
    schedule();
  }

  function schedule(): void {
    timer?.cancel();
    if (closing.signal.aborted) return;
    const waitMs = Math.min(Math.max(renewAtMs - clock.nowMs(), 0), MAX_SLEEP_MS);
    timer = clock.after(waitMs, () => {
      if (clock.nowMs() >= renewAtMs) void renew();
      else schedule();
    });
  }

  function takeBundle(bundle: TrustBundle): void {
    const rootsPem = rootsToPem(bundle.roots);
    if (rootsPem === held().rootsPem) return;
    try {
      if (bundle.trustDomain !== trustDomain) throw new CertError("wrong_trust_domain", `the bundle is of ${bundle.trustDomain}`);
      const roots = parseRoots(rootsPem);
      swap({ ...held(), rootsPem, roots });
      log.info({ version: bundle.version, roots: roots.length }, "trust bundle changed");
      void files.writeTrust({ rootsPem, pins });
      // A leaf of a removed root is refused by everybody who has heard already.
      const { leaf } = held();
      if (!isRenewing && !roots.some((root) => isIssuedBy(leaf, root, clock.nowMs()))) {
        renewAtMs = clock.nowMs();
        schedule();
      }
    } catch (error) {
      log.error({ err: error, version: bundle.version }, "a trust bundle is refused");
    }
  }

  function currentChannel(): ControlChannel {
    channel ??= createControlChannel(control, { rootsPem: held().rootsPem, own: held() });
    return channel;
  }

  const releaseProcess = holdProcess();
  try {
    await resume();
    if (current === null) await obtainFirst();
  } finally {
    releaseProcess();
  }
  failures = 0;
  schedule();
  const watch = createTrustWatch({ channel: currentChannel, onBundle: takeBundle, clock, random, log });
  options.metrics.gauge({
    name: "remora_cert_expires_seconds",
    help: "Seconds until the workload's certificate expires; negative once it did.",
    read: () => (held().expiresAtMs - clock.nowMs()) / 1000,
  });

  return {
    identity,
    trustDomain,
    current: held,
    onChange(run) {
      watchers.add(run);
      return () => void watchers.delete(run);
    },
    grpcChannel: currentChannel,
    close() {
      closing.abort();
      timer?.cancel();
      watch.close();
      watchers.clear();
      return Promise.resolve();
    },
  };
}

/** Epoch ms at 70 % ± 5 % of the life. */
function renewalTime({ leaf, expiresAtMs }: Credentials, random: () => number): number {
  const fromMs = leaf.validFromDate.getTime();
  return fromMs + (expiresAtMs - fromMs) * (RENEW_AT_RATIO + JITTER_RATIO * (random() - 0.5));
}

/** True when no later try can end differently. A service account token changes on disk and its review may lag, so its refusal is not final. */
function isFinal(error: unknown, isJoined: boolean): boolean {
  if (!(error instanceof CertError)) return false;
  switch (error.code) {
    case "unavailable":
    case "rate_limited":
    case "expired":
      return false;
    case "credential_refused":
      return isJoined;
    default:
      return true;
  }
}

async function readGiven(read: () => Promise<WorkloadCredential>): Promise<WorkloadCredential> {
  try {
    return await read();
  } catch (cause) {
    throw cause instanceof CertError
      ? cause
      : new CertError("unavailable", `the workload's credential cannot be read: ${(cause as Error).message}`, { cause });
  }
}

/** The clock's timers do not keep a process alive, which waits for its first certificate with nothing else open. */
function holdProcess(): () => void {
  const handle = setInterval(() => {}, 2 ** 30);
  return () => clearInterval(handle);
}

function sleep(delayMs: number, clock: Clock, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(delayMs, () => {
      signal.removeEventListener("abort", stop);
      resolve();
    });
    function stop(): void {
      timer.cancel();
      reject(new CertError("unavailable", "stopped while waiting for the first certificate"));
    }
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  });
}

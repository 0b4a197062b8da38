// The workload's identity from its first certificate to its last (design 7): learn the mesh's roots, ask for a certificate, renew it at 70 %
// of its life, follow the trust bundle. A swap replaces one reference; open connections keep what they have. With the CA away everything
// goes on with what is held, and tries go on with it.
import type { Clock } from "../../core/clock.ts";
import { CertError } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import type { Metrics } from "../../core/metrics.ts";
import type { SpiffeId } from "../../core/spiffe.ts";
import { spiffeParts } from "../../core/spiffe.ts";
import type { TrustBundle } from "../../core/wire/identity.ts";
import type { BackoffLimits } from "./backoff.ts";
import { pushedBackMs, renewalLimits, STARTING } from "./backoff.ts";
import { certify } from "./certify.ts";
import type { ControlPlane } from "./control-channel.ts";
import { createControlChannel } from "./control-channel.ts";
import { keepTrying } from "./first-certificate.ts";
import type { Generation } from "./generation.ts";
import { parseRoots, rootsToPem, toCredentials } from "./generation.ts";
import type { ControlChannel, Credentials, IdentitySource } from "./identity-source.ts";
import { createAlarm, renewalTime } from "./renewal.ts";
import { openStateFiles } from "./state-files.ts";
import { bootstrapTrust } from "./trust-bootstrap.ts";
import { trustReport } from "./trust-report.ts";
import { createTrustWatch } from "./trust-watch.ts";
import type { ReadCredential, WorkloadCredential } from "./workload-credential.ts";
import { readCredential } from "./workload-credential.ts";

/** Renewals that the control plane asks for are spread over this much at least. */
const LEAST_SPREAD_MS = 1000;

/** Settings and surroundings of {@link startIdentity}. */
export interface IdentityOptions {
  /** `host:port` of the control plane's gRPC port. */
  readonly controlAddress: string;
  /** `host:port` of the CA where it runs apart from the registry; default: `controlAddress`. */
  readonly caAddress?: string | null;
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
  const authority: ControlPlane = { ...control, address: options.caAddress ?? options.controlAddress };
  const files = openStateFiles(options.stateDir, log);
  const watchers = new Set<(credentials: Credentials) => void>();
  const alarm = createAlarm(clock, () => void renew());
  /** Of the last credential that was read. */
  let pins: readonly string[] = [];
  /** Null until the first certificate. */
  let current: Credentials | null = null;
  /** Made for `current` when first asked for. */
  let channel: ControlChannel | null = null;
  let renewAtMs = Number.POSITIVE_INFINITY;
  /** What the newest bundle asks: a leaf of another root is to be renewed soon. Empty: the control plane does not rotate. */
  let wanted: Pick<TrustBundle, "issuingRoot" | "renewWithinMs"> = { issuingRoot: Buffer.alloc(0), renewWithinMs: 0 };
  let failures = 0;
  let isRenewing = false;
  let isClosed = false;

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

  /** Checks and swaps; gives the time of the next renewal. Keys stay in memory, except after a join: its token is spent. */
  async function accept(generation: Generation, rootsPem: string, credential: ReadCredential): Promise<number> {
    const next = toCredentials(generation, rootsPem, identity, clock.nowMs(), current);
    swap(next);
    const trustWritten = files.writeTrust({ rootsPem, pins });
    await (credential.kind === "join_token" ? files.writeGeneration(generation) : trustWritten);
    return renewalTime({ fromMs: next.leaf.validFromDate.getTime(), toMs: next.expiresAtMs }, random);
  }

  async function knownRoots(): Promise<string> {
    if (current !== null) return current.rootsPem;
    const stored = await files.readTrust();
    if (stored !== null && stored.pins.join() === pins.join()) return stored.rootsPem;
    return bootstrapTrust(authority, pins);
  }

  async function obtain(): Promise<number> {
    const credential = await readCredential(options.credential, options.pins);
    ({ pins } = credential);
    const rootsPem = await knownRoots();
    const shown = credential.kind === "join_token" && current !== null ? ({ kind: "renewal" } as const) : credential;
    const certified = await certify(createControlChannel(authority, { rootsPem, own: current }), identity, shown);
    if (isClosed) throw new CertError("unavailable", "the identity source was closed");
    const renewAtMs = await accept(certified.generation, certified.rootsPem, credential);
    log.info({ identity, notAfter: held().leaf.validToDate.toISOString(), credential: shown.kind }, "certificate obtained");
    // With a clock far ahead of the CA's, a fresh certificate can be past its renewal time already; asking again at once would never end.
    return Math.max(renewAtMs, clock.nowMs() + (held().expiresAtMs - clock.nowMs()) / 2);
  }

  /** A restart of a joined workload: its token is spent, its certificate is not. Null when there is nothing to go on with. */
  async function resume(): Promise<number | null> {
    const [generation, trust] = [await files.readGeneration(), await files.readTrust()];
    if (generation === null || trust === null) return null;
    try {
      const credential = await readCredential(options.credential, options.pins);
      if (credential.kind !== "join_token" || trust.pins.join() !== credential.pins.join()) return null;
      ({ pins } = credential);
      const renewAtMs = await accept(generation, trust.rootsPem, credential);
      log.info({ identity, notAfter: held().leaf.validToDate.toISOString() }, "certificate taken from the state folder");
      return renewAtMs;
    } catch (error) {
      log.warn({ err: error }, "the certificate in the state folder cannot be used");
      return null;
    }
  }

  async function obtainFirst(): Promise<number> {
    let renewAtMs = 0;
    await keepTrying({
      run: async () => {
        renewAtMs = await obtain();
      },
      isFinal: (error) => isFinal(error),
      onFailure: (error) => noteFailure(error, STARTING, "no certificate yet"),
      clock,
      signal: options.signal,
    });
    return renewAtMs;
  }

  function noteFailure(error: unknown, limits: BackoffLimits, message: string): number {
    failures += 1;
    const wanted = error instanceof CertError ? error.fields["waitMs"] : null;
    const waitMs = Math.round(pushedBackMs(typeof wanted === "number" ? wanted : 0, failures, limits, random));
    log.warn({ code: error instanceof CertError ? error.code : null, detail: (error as Error).message, failures, waitMs }, message);
    return waitMs;
  }

  async function renew(): Promise<void> {
    if (isRenewing || isClosed) return;
    isRenewing = true;
    let nextMs: number;
    try {
      nextMs = await obtain();
      failures = 0;
    } catch (error) {
      if (isClosed) return;
      const nowMs = clock.nowMs();
      nextMs = nowMs + noteFailure(error, renewalLimits(held().expiresAtMs - nowMs), "the certificate is not renewed yet");
    } finally {
      isRenewing = false;
    }
    if (isClosed) return;
    setRenewal(nextMs);
    renewSoonWhereWanted(); // the replica that has answered may be one that has not heard of the step
  }

  function setRenewal(instantMs: number): void {
    renewAtMs = instantMs;
    alarm.setAt(instantMs);
  }

  function takeBundle(bundle: TrustBundle): void {
    if (isClosed) return;
    const rootsPem = rootsToPem(bundle.roots);
    if (rootsPem !== held().rootsPem) takeRoots(bundle, rootsPem);
    wanted = bundle;
    renewSoonWhereWanted();
  }

  /** Not at once: every sidecar of the mesh hears the same. */
  function renewSoonWhereWanted(): void {
    const { issuedByRoot } = report();
    if (wanted.issuingRoot.length === 0 || issuedByRoot === "" || issuedByRoot === wanted.issuingRoot.toString("hex")) return;
    const soonMs = clock.nowMs() + Math.max(wanted.renewWithinMs, LEAST_SPREAD_MS) * random();
    if (soonMs < renewAtMs) setRenewal(soonMs);
  }

  function report(): ReturnType<typeof trustReport> {
    return trustReport(held(), { trustDomain, nowMs: clock.nowMs() });
  }

  function takeRoots(bundle: TrustBundle, rootsPem: string): void {
    try {
      if (bundle.trustDomain !== trustDomain) throw new CertError("wrong_trust_domain", `the bundle is of ${bundle.trustDomain}`);
      const roots = parseRoots(rootsPem);
      swap({ ...held(), rootsPem, roots });
      log.info({ version: bundle.version, roots: roots.length }, "trust bundle changed");
      void files.writeTrust({ rootsPem, pins });
      // A leaf of a removed root is refused by everybody who has heard already.
      if (report().issuedByRoot === "") void renew();
    } catch (error) {
      log.error({ err: error, version: bundle.version }, "a trust bundle is refused");
    }
  }

  function currentChannel(): ControlChannel {
    channel ??= createControlChannel(control, { rootsPem: held().rootsPem, own: held() });
    return channel;
  }

  function authorityChannel(): ControlChannel {
    return authority.address === control.address
      ? currentChannel()
      : createControlChannel(authority, { rootsPem: held().rootsPem, own: held() });
  }

  const firstRenewalMs = (await resume()) ?? (await obtainFirst());
  failures = 0;
  setRenewal(firstRenewalMs);
  const watch = createTrustWatch({ channel: authorityChannel, onBundle: takeBundle, clock, random, log });
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
      isClosed = true;
      alarm.close();
      watch.close();
      watchers.clear();
      return files.settled();
    },
  };
}

/**
 * What no later try can change: a join token that is refused or spent, a mesh that is not the pinned one, a request that is wrong. A service
 * account token is renewed on disk and its review may lag, so that its refusal passes; the caller sees it in the log and in readiness.
 */
function isFinal(error: unknown): boolean {
  if (!(error instanceof CertError)) return false;
  switch (error.code) {
    case "unavailable":
    case "rate_limited":
    case "expired":
      return false;
    case "credential_refused":
      return error.fields["credential"] !== "service_account_token";
    default:
      return true;
  }
}

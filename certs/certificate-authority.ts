// The CA role of the control plane (design 7), put together: find or make the root and follow its changes, publish what others need to trust it, answer
// `Identity`, and certify the control plane itself. Each part is its own file; this one only connects them.
import type { X509Certificate } from "node:crypto";
import { type Audit, auditToLog } from "../core/audit/audit.ts";
import type { Clock, Timer } from "../core/clock.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import type { SpiffeId } from "../core/spiffe.ts";
import type { IdentityHandlers } from "../core/wire/identity.ts";
import { createJudgedAt, type JudgedAt } from "../core/x509/judged-at.ts";
import type { Credential } from "./authenticator.ts";
import { createAuthenticator } from "./authenticator.ts";
import type { AuthorityState } from "./authority-data.ts";
import { readAuthority, rootsForPeers } from "./authority-data.ts";
import type { AuthorityPlace, AuthoritySource } from "./authority-source.ts";
import { followAuthority } from "./authority-source.ts";
import type { AuthorityStatus } from "./authority-status.ts";
import { auditFieldsOf, describeAuthority } from "./authority-status.ts";
import { createFileRootStore, readPublicRoots, writePublicRoots } from "./file-root-store.ts";
import type { GivenFiles } from "./given-authority.ts";
import { placeOf, readGivenFiles } from "./given-authority.ts";
import { createIdentityService } from "./identity-service.ts";
import { createIssuance } from "./issuance.ts";
import { createIssueLimit } from "./issue-limit.ts";
import { createIssueQueue } from "./issue-queue.ts";
import type { JoinTokenRequest, JoinTokens } from "./join-tokens.ts";
import { createJoinTokens } from "./join-tokens.ts";
import type { KubernetesApis } from "./kubernetes.ts";
import { createSecretRootStore, createTokenReviewer, publishTrust } from "./kubernetes.ts";
import type { RandomBytes } from "./profile.ts";
import { LEAF_TTL_MS } from "./profile.ts";
import type { Kept } from "./root-store.ts";
import { loadOrCreateRoot } from "./root-store.ts";
import type { ServerCredentials } from "./server-credentials.ts";
import { createServerCredentials } from "./server-credentials.ts";
import { createServiceAccountCheck } from "./service-account.ts";
import type { TrustBundle, TrustState } from "./trust-bundle.ts";
import { createTrustState } from "./trust-bundle.ts";

/** The ConfigMap is compared and repaired this often, for it may be deleted by hand. */
const PUBLISH_INTERVAL_MS = 60_000;
/** Health says so when what signs ends sooner, or has less than a fifth of its life left. */
const ENDING_MS = 30 * 86_400_000;
const ENDING_RATIO = 0.2;
/** Time between two looks at what is kept: a file costs next to nothing, a Secret a call of the API server. */
const FILE_POLL_MS = 1000;
const SECRET_POLL_MS = 5000;
/** Leaves of another root than the one that signs are renewed within this share of their life, but 5 minutes at most: 2,000 sidecars are 7 a second then. */
const RENEW_WITHIN_RATIO = 0.1;
const RENEW_WITHIN_MS = 300_000;

/** Settings and surroundings of the CA. */
export interface CertificateAuthorityOptions {
  readonly trustDomain: string;
  /** Holds the root (unless given or in a Secret), its public copy, and join tokens. */
  readonly stateDir: string;
  /** Namespace of the control plane: of the Secret and the ConfigMap. */
  readonly controlNamespace: string;
  /** A CA given by files; null: kept in a Secret in Kubernetes, else in the state folder. */
  readonly given: GivenFiles | null;
  /** Null outside of Kubernetes: then service account tokens are refused. */
  readonly kubernetes: KubernetesApis | null;
  /** Default 24 h. */
  readonly leafTtlMs?: number;
  readonly clock: Clock;
  /** When certificates of callers are judged; default: by `clock`. */
  readonly judgedAt?: JudgedAt;
  readonly random: RandomBytes;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Default: the log. */
  readonly audit?: Audit;
  /** How often one identity may be certified; default: see issue-limit.ts. */
  readonly issueLimit?: Parameters<typeof createIssueLimit>[1];
}

/** The running CA. */
export interface CertificateAuthority {
  /** Handlers of `remora.v1.Identity`. */
  readonly identityImplementation: IdentityHandlers;
  /** A server certificate for the control plane itself, kept fresh until its `close`. */
  issueServerCredentials(identity: SpiffeId): ServerCredentials;
  trustBundle(): TrustBundle;
  onTrustChange(run: (bundle: TrustBundle) => void): () => void;
  /** Whose credential it is; spends nothing. Throws `CertError`: `credential_refused`, `unavailable`. */
  authenticate(credential: Credential): Promise<SpiffeId>;
  createJoinToken(request: JoinTokenRequest): Promise<string>;
  health(): { readonly status: "ok" | "degraded"; readonly since?: number; readonly message?: string };
  /** What `remora ca status` shows of this process. */
  status(): AuthorityStatus;
  close(): Promise<void>;
}

/** Starts the CA; throws `CertError` naming the file or Secret when there is no usable root. */
export async function startCertificateAuthority(options: CertificateAuthorityOptions): Promise<CertificateAuthority> {
  const { clock, log, metrics, random, trustDomain, kubernetes } = options;
  const judgedAt = options.judgedAt ?? createJudgedAt(clock);
  const leafTtlMs = options.leafTtlMs ?? LEAF_TTL_MS;
  const audit = options.audit ?? auditToLog(log);
  const source = await openSource(options, leafTtlMs, audit);
  const first = source.current();
  const trust = createTrustState(rawOf(first.roots), first.signer.anchor.raw);
  await writePublicRoots(options.stateDir, trust.current().rootsPem);
  const publishing = kubernetes === null ? null : await startPublishing(kubernetes, options, trust);
  source.onChange((state) => {
    trust.replace(rawOf(state.roots), state.signer.anchor.raw);
    writePublicRoots(options.stateDir, trust.current().rootsPem).catch((error: unknown) =>
      log.error({ err: error }, "the roots could not be written beside the state"),
    );
  });

  const joinTokens = createJoinTokens({
    stateDir: options.stateDir,
    rootDer: () => source.current().signer.anchor.raw,
    trustDomain,
    clock,
    random,
  });
  const serviceAccounts = kubernetes === null ? null : createServiceAccountCheck(createTokenReviewer(kubernetes), trustDomain);
  const authenticate = createAuthenticator({
    trustDomain,
    judgedAt,
    roots: () => trust.current().certificates,
    serviceAccounts,
    joinTokens,
  });
  const signing = { clock, random, leafTtlMs, root: () => source.current().signer };
  const queue = createIssueQueue({ clock });
  metrics.gauge({
    name: "remora_certificate_requests_waiting",
    help: "Requests for certificates that wait for their turn.",
    read: () => queue.waiting,
  });
  const issue = createIssuance({ ...signing, authenticate, limit: createIssueLimit(clock, options.issueLimit), queue });
  const issued = metrics.counter({
    name: "remora_certificates_issued_total",
    help: "Requests for certificates by result: issued, or why not.",
    labels: ["result"],
  });
  const service = createIdentityService({
    trustDomain,
    issue,
    authenticate,
    trust,
    // A rotation has its moment in which a sidecar that slept has not heard of the root that signs by now.
    bridges: () => (source.current().step === "issuing" ? source.current().bridges.slice(0, 1) : []),
    renewWithinMs: Math.min(leafTtlMs * RENEW_WITHIN_RATIO, RENEW_WITHIN_MS),
    log,
    audit,
    count: (result) => issued.inc({ result }),
  });
  const own = new Set<ServerCredentials>();

  return {
    identityImplementation: service.implementation,
    issueServerCredentials(identity) {
      const credentials = createServerCredentials(identity, { ...signing, trust, log, above: () => rootsForPeers(source.current()) });
      own.add(credentials);
      return credentials;
    },
    trustBundle: () => trust.current(),
    onTrustChange: (run) => trust.onChange(run),
    authenticate: async (credential) => (await authenticate(credential)).identity,
    createJoinToken: (request) => joinTokens.create(request),
    health() {
      const trouble = source.trouble();
      if (trouble !== null) return { status: "degraded", since: trouble.sinceMs, message: trouble.message };
      return healthOfSigner(source.current(), clock.nowMs());
    },
    status: () => describeAuthority(source, { trustDomain, leafTtlMs }),
    close() {
      source.close();
      service.close();
      publishing?.cancel();
      for (const credentials of own) credentials.close();
      return Promise.resolve();
    },
  };
}

/** Join tokens of a control plane that runs, or ran, with this state folder: what `remora token` uses from its own process. */
export async function openJoinTokens(options: {
  readonly stateDir: string;
  readonly trustDomain: string;
  readonly clock: Clock;
  readonly random: RandomBytes;
}): Promise<JoinTokens> {
  const [rootDer] = await readPublicRoots(options.stateDir);
  return createJoinTokens({ ...options, rootDer: () => rootDer ?? Buffer.alloc(0) });
}

async function openSource(options: CertificateAuthorityOptions, leafTtlMs: number, audit: Audit): Promise<AuthoritySource> {
  const { clock, log, metrics, trustDomain } = options;
  const { place, first } = await openPlace(options);
  const { step, signer } = first.state;
  log.info({ place: place.place, step, notAfter: new Date(signer.notAfterMs).toISOString(), created: first.created }, "CA root ready");
  audit.record("ca.ready", { ...auditFieldsOf(first.state, place.place), created: first.created });
  return followAuthority({ place, first, trustDomain, leafTtlMs, clock, log, metrics, audit });
}

interface OpenedPlace {
  readonly place: AuthorityPlace;
  readonly first: { readonly state: AuthorityState; readonly kept: Kept; readonly created: boolean };
}

async function openPlace({ clock, given, kubernetes, random, trustDomain, ...options }: CertificateAuthorityOptions): Promise<OpenedPlace> {
  const rules = { trustDomain, nowMs: clock.nowMs() };
  if (given !== null) {
    const place: AuthorityPlace = { place: placeOf(given), kind: "files", load: () => readGivenFiles(given), pollMs: FILE_POLL_MS };
    const kept = await readGivenFiles(given);
    return { place, first: { state: readAuthority(kept.data, place.place, rules), kept, created: false } };
  }
  const store = kubernetes === null ? createFileRootStore(options.stateDir) : createSecretRootStore(kubernetes, options.controlNamespace);
  const first = await loadOrCreateRoot(store, { ...rules, random });
  const how =
    kubernetes === null ? ({ kind: "folder", pollMs: FILE_POLL_MS } as const) : ({ kind: "secret", pollMs: SECRET_POLL_MS } as const);
  return { place: { place: store.place, load: store.load, ...how }, first };
}

function healthOfSigner({ signer }: AuthorityState, nowMs: number): ReturnType<CertificateAuthority["health"]> {
  const lifeMs = signer.notAfterMs - signer.certificate.validFromDate.getTime();
  const leftMs = signer.notAfterMs - nowMs;
  const until = new Date(signer.notAfterMs).toISOString();
  return leftMs > Math.min(ENDING_MS, lifeMs * ENDING_RATIO)
    ? { status: "ok" }
    : { status: "degraded", message: `what the CA signs with ${leftMs > 0 ? "ends" : "ended"} at ${until}` };
}

function rawOf(certificates: readonly X509Certificate[]): readonly Buffer[] {
  return certificates.map(({ raw }) => raw);
}

/** Publishes now, at each change, and every minute; a failure is logged and tried again, for certificates can be issued meanwhile. */
async function startPublishing(kubernetes: KubernetesApis, options: CertificateAuthorityOptions, trust: TrustState): Promise<Timer> {
  const publish = () =>
    publishTrust(kubernetes, options.controlNamespace, trust.current()).catch((error: unknown) =>
      options.log.error({ err: error }, "the trust bundle could not be published"),
    );
  await publish();
  const stop = trust.onChange(() => void publish());
  const timer = options.clock.every(PUBLISH_INTERVAL_MS, () => void publish());
  return {
    refresh: () => timer.refresh(),
    cancel: () => {
      stop();
      timer.cancel();
    },
  };
}

// The CA role of the control plane (design 7), put together: find or make the root, publish what others need to trust it, answer
// `Identity`, and certify the control plane itself. Each part is its own file; this one only connects them.
import { type Audit, auditToLog } from "../core/audit/audit.ts";
import type { Clock, Timer } from "../core/clock.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import type { SpiffeId } from "../core/spiffe.ts";
import type { IdentityHandlers } from "../core/wire/identity.ts";
import type { Credential } from "./authenticator.ts";
import { createAuthenticator } from "./authenticator.ts";
import { createFileRootStore, readPublicRoots, writePublicRoots } from "./file-root-store.ts";
import { createIdentityService } from "./identity-service.ts";
import { createIssuance } from "./issuance.ts";
import { createIssueLimit } from "./issue-limit.ts";
import type { JoinTokenRequest, JoinTokens } from "./join-tokens.ts";
import { createJoinTokens } from "./join-tokens.ts";
import type { KubernetesApis } from "./kubernetes.ts";
import { createSecretRootStore, createTokenReviewer, publishTrust } from "./kubernetes.ts";
import type { RandomBytes } from "./profile.ts";
import { LEAF_TTL_MS } from "./profile.ts";
import type { Root } from "./root.ts";
import { loadOrCreateRoot, readGivenRoot } from "./root.ts";
import type { ServerCredentials } from "./server-credentials.ts";
import { createServerCredentials } from "./server-credentials.ts";
import { createServiceAccountCheck } from "./service-account.ts";
import type { TrustBundle, TrustState } from "./trust-bundle.ts";
import { createTrustState } from "./trust-bundle.ts";

/** The ConfigMap is compared and repaired this often, for it may be deleted by hand. */
const PUBLISH_INTERVAL_MS = 60_000;
/** Health says so when the root ends sooner. */
const ROOT_WARNING_MS = 30 * 86_400_000;

/** Settings and surroundings of the CA. */
export interface CertificateAuthorityOptions {
  readonly trustDomain: string;
  /** Holds the root (unless given or in a Secret), its public copy, and join tokens. */
  readonly stateDir: string;
  /** Namespace of the control plane: of the Secret and the ConfigMap. */
  readonly controlNamespace: string;
  /** A root given by files; null: kept in a Secret in Kubernetes, else in the state folder. */
  readonly given: { readonly certificateFile: string; readonly keyFile: string } | null;
  /** Null outside of Kubernetes: then service account tokens are refused. */
  readonly kubernetes: KubernetesApis | null;
  /** Default 24 h. */
  readonly leafTtlMs?: number;
  readonly clock: Clock;
  readonly random: RandomBytes;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Default: the log. */
  readonly audit?: Audit;
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
  health(): { readonly status: "ok" | "degraded"; readonly message?: string };
  close(): Promise<void>;
}

/** Starts the CA; throws `CertError` naming the file or Secret when there is no usable root. */
export async function startCertificateAuthority(options: CertificateAuthorityOptions): Promise<CertificateAuthority> {
  const { clock, log, metrics, random, trustDomain, kubernetes } = options;
  const root = await openRoot(options);
  const trust = createTrustState([root.certificate.raw]);
  await writePublicRoots(options.stateDir, trust.current().rootsPem);
  const publishing = kubernetes === null ? null : await startPublishing(kubernetes, options, trust);

  const joinTokens = createJoinTokens({ stateDir: options.stateDir, rootDer: root.certificate.raw, trustDomain, clock, random });
  const serviceAccounts = kubernetes === null ? null : createServiceAccountCheck(createTokenReviewer(kubernetes), trustDomain);
  const authenticate = createAuthenticator({ trustDomain, clock, roots: () => trust.current().certificates, serviceAccounts, joinTokens });
  const signing = { clock, random, leafTtlMs: options.leafTtlMs ?? LEAF_TTL_MS, root: () => root };
  const issue = createIssuance({ ...signing, authenticate, limit: createIssueLimit(clock) });
  const issued = metrics.counter({
    name: "remora_certificates_issued_total",
    help: "Requests for certificates by result: issued, or why not.",
    labels: ["result"],
  });
  const audit = options.audit ?? auditToLog(log);
  const count = (result: string) => issued.inc({ result });
  const service = createIdentityService({ trustDomain, issue, authenticate, trust, log, audit, count });
  const own = new Set<ServerCredentials>();

  return {
    identityImplementation: service.implementation,
    issueServerCredentials(identity) {
      const credentials = createServerCredentials(identity, { ...signing, trust, log });
      own.add(credentials);
      return credentials;
    },
    trustBundle: () => trust.current(),
    onTrustChange: (run) => trust.onChange(run),
    authenticate: async (credential) => (await authenticate(credential)).identity,
    createJoinToken: (request) => joinTokens.create(request),
    health() {
      const leftMs = root.certificate.validToDate.getTime() - clock.nowMs();
      return leftMs > ROOT_WARNING_MS
        ? { status: "ok" }
        : { status: "degraded", message: `the CA's root ends at ${root.certificate.validTo}` };
    },
    close() {
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
  return createJoinTokens({ ...options, rootDer: rootDer ?? Buffer.alloc(0) });
}

async function openRoot(options: CertificateAuthorityOptions): Promise<Root> {
  const { clock, given, kubernetes, log, random, trustDomain } = options;
  const nowMs = clock.nowMs();
  if (given !== null) return readGivenRoot({ ...given, nowMs });
  const store = kubernetes === null ? createFileRootStore(options.stateDir) : createSecretRootStore(kubernetes, options.controlNamespace);
  const { root, created } = await loadOrCreateRoot(store, { trustDomain, nowMs, random });
  log.info({ place: store.place, created, notAfter: root.certificate.validToDate.toISOString() }, "CA root ready");
  return root;
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

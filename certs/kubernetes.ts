// The three things that the CA asks of the Kubernetes API: one Secret for the CA, one ConfigMap with the trust bundle, TokenReview for
// credentials. The client library is large and loads only here, when the CA runs in a cluster (design 13.4).
import type { AuthenticationV1Api, CoreV1Api, V1ConfigMap } from "@kubernetes/client-node";
import { CertError } from "../core/errors.ts";
import type { AuthorityData } from "./authority-data.ts";
import { DATA_KEYS } from "./authority-data.ts";
import { changedMeanwhile, type Kept, type RootStore } from "./root-store.ts";
import type { TokenReview, TokenReviewer } from "./service-account.ts";

/** No call to the API server may take longer. */
const CALL_TIMEOUT_MS = 10_000;
const ROOT_SECRET = "remora-ca";
/** ConfigMap that the injector reads: `ca.crt` (PEM roots) and `pin` (`sha256:<hex>`, comma separated). */
export const TRUST_CONFIG_MAP = "remora-trust";

/** A connection to the API server, made by {@link connectKubernetes}. */
export interface KubernetesApis {
  readonly core: CoreV1Api;
  readonly authentication: AuthenticationV1Api;
}

/** Loads the client. `kubeconfig` is its YAML text; without it the pod's service account is used, or the user's default. */
export async function connectKubernetes(options: { readonly kubeconfig?: string } = {}): Promise<KubernetesApis> {
  const { AuthenticationV1Api, CoreV1Api, KubeConfig } = await import("@kubernetes/client-node");
  const config = new KubeConfig();
  if (options.kubeconfig === undefined) config.loadFromDefault();
  else config.loadFromString(options.kubeconfig);
  return { core: config.makeApiClient(CoreV1Api), authentication: config.makeApiClient(AuthenticationV1Api) };
}

/** The CA in a Secret of `namespace`. Creation is atomic: the API server answers 409 to all but the first, and to a change of what was changed meanwhile. */
export function createSecretRootStore(apis: KubernetesApis, namespace: string): RootStore {
  const place = `Secret ${namespace}/${ROOT_SECRET}`;
  const read = () => call(`read ${place}`, () => apis.core.readNamespacedSecret({ name: ROOT_SECRET, namespace }), [404]);

  async function load(): Promise<Kept | null> {
    const found = await read();
    if (found === null) return null;
    const text = (key: string) => Buffer.from(found.data?.[key] ?? "", "base64").toString("utf8");
    const data = Object.fromEntries(DATA_KEYS.filter((key) => text(key) !== "").map((key) => [key, text(key)])) as AuthorityData;
    return { data, version: found.metadata?.resourceVersion ?? JSON.stringify(data) };
  }

  async function create(data: AuthorityData): Promise<Kept> {
    const body = {
      metadata: { name: ROOT_SECRET, namespace, labels: { "app.kubernetes.io/part-of": "remora" } },
      type: "kubernetes.io/tls",
      stringData: { ...data },
    };
    await call(`create ${place}`, () => apis.core.createNamespacedSecret({ namespace, body }), [409]);
    const kept = await load();
    if (kept === null) throw new CertError("unavailable", `${place} vanished while it was made`);
    return kept;
  }

  async function replace(data: AuthorityData, version: string): Promise<void> {
    const found = await read();
    if (found === null || found.metadata?.resourceVersion !== version) throw changedMeanwhile(place);
    const keep = Object.entries(found.data ?? {}).filter(([key]) => !DATA_KEYS.some((ours) => ours === key));
    const encoded = Object.entries(data).map(([key, text]) => [key, Buffer.from(text ?? "").toString("base64")] as const);
    const body = { ...found, data: Object.fromEntries([...keep, ...encoded]) };
    const done = await call(`replace ${place}`, () => apis.core.replaceNamespacedSecret({ name: ROOT_SECRET, namespace, body }), [409]);
    if (done === null) throw changedMeanwhile(place);
  }

  return { place, load, create, replace };
}

/** Writes the trust bundle to the ConfigMap of `namespace`; does nothing when it says the same already. */
export async function publishTrust(
  apis: KubernetesApis,
  namespace: string,
  trust: { readonly rootsPem: string; readonly pins: readonly string[] },
): Promise<void> {
  const place = `ConfigMap ${namespace}/${TRUST_CONFIG_MAP}`;
  const data = { "ca.crt": trust.rootsPem, pin: trust.pins.join(",") };
  const body: V1ConfigMap = { metadata: { name: TRUST_CONFIG_MAP, namespace, labels: { "app.kubernetes.io/part-of": "remora" } }, data };
  const found = await call(`read ${place}`, () => apis.core.readNamespacedConfigMap({ name: TRUST_CONFIG_MAP, namespace }), [404]);
  if (found?.data?.["ca.crt"] === data["ca.crt"] && found.data["pin"] === data.pin) return;
  const created =
    found === null ? await call(`create ${place}`, () => apis.core.createNamespacedConfigMap({ namespace, body }), [409]) : null;
  // 409: another replica made it a moment ago, perhaps with an older bundle.
  if (created === null)
    await call(`replace ${place}`, () => apis.core.replaceNamespacedConfigMap({ name: TRUST_CONFIG_MAP, namespace, body }), []);
}

/** Asks the API server whom a token belongs to. */
export function createTokenReviewer(apis: KubernetesApis): TokenReviewer {
  return async (token, audience): Promise<TokenReview> => {
    const review = await call(
      "review a service account token",
      () => apis.authentication.createTokenReview({ body: { spec: { token, audiences: [audience] } } }),
      [],
    );
    const status = review?.status;
    return {
      authenticated: status?.authenticated === true,
      audiences: status?.audiences ?? [],
      username: status?.user?.username ?? "",
      error: status?.error ?? "",
    };
  };
}

/** Runs one call with a deadline. Null for the statuses in `expected`; anything else is `CertError("unavailable")` saying what was tried. */
async function call<Value>(what: string, run: () => Promise<Value>, expected: readonly number[]): Promise<Value | null> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${CALL_TIMEOUT_MS / 1000} s`)), CALL_TIMEOUT_MS).unref();
  });
  try {
    return await Promise.race([run(), deadline]);
  } catch (cause) {
    const status = statusOf(cause);
    if (status !== null && expected.includes(status)) return null;
    throw new CertError("unavailable", `cannot ${what}: ${explain(cause, status)}`, { cause });
  } finally {
    clearTimeout(timer);
  }
}

/** HTTP status of the client's ApiException; null for network failures. */
function statusOf(error: unknown): number | null {
  const code = (error as { readonly code?: unknown } | null)?.code;
  return typeof code === "number" ? code : null;
}

function explain(error: unknown, status: number | null): string {
  if (status === 403) return "the API server answers 403, the control plane's service account lacks the right";
  if (status !== null) return `the API server answers ${status}`;
  const reason = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return reason instanceof Error ? reason.message : String(reason);
}

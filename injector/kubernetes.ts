// What the injector asks of the Kubernetes API: its certificate's Secret, the `caBundle` of its webhook configuration, and the pins of the mesh's
// roots. Nothing else, which is what its RBAC says too. The client library is large and loads only here.
import type { AdmissionregistrationV1Api, CoreV1Api, V1Secret } from "@kubernetes/client-node";
import type { CertificateStore, StoredMaterial } from "./certificate-store.ts";

/** No call may take longer. */
const CALL_TIMEOUT_MS = 10_000;
/** Tries of one `caBundle` patch against others that change the object at the same time. */
const PATCH_ATTEMPTS = 5;
const TLS_SECRET = "remora-injector-tls";
/** Written by the CA: `pin` holds `sha256:<hex>` of each root, separated by commas. */
const TRUST_CONFIG_MAP = "remora-trust";

/** Places in the cluster. */
export interface InjectorPlaces {
  /** Namespace of the control plane. */
  readonly namespace: string;
  /** Name of our MutatingWebhookConfiguration. */
  readonly webhook: string;
  /** Name of our Service: webhooks that call another are not ours to touch. */
  readonly service: string;
}

/** The API as the injector uses it. */
export interface InjectorKubernetes {
  readonly certificates: CertificateStore;
  /** Makes every webhook of ours believe `bundlePem`; does nothing when it does already. */
  publishBundle(bundlePem: string): Promise<void>;
  /** Pins of the roots; empty while the CA has not published any. */
  trustPins(): Promise<readonly string[]>;
}

/** Loads the client. `kubeconfig` is its YAML text; without it the pod's service account is used, or the user's default. */
export async function connectInjectorKubernetes(
  places: InjectorPlaces,
  options: { readonly kubeconfig?: string } = {},
): Promise<InjectorKubernetes> {
  const { AdmissionregistrationV1Api, CoreV1Api, KubeConfig, PatchStrategy, setHeaderOptions } = await import("@kubernetes/client-node");
  const config = new KubeConfig();
  if (options.kubeconfig === undefined) config.loadFromDefault();
  else config.loadFromString(options.kubeconfig);
  const core = config.makeApiClient(CoreV1Api);
  const admission = config.makeApiClient(AdmissionregistrationV1Api);
  const asJsonPatch = setHeaderOptions("Content-Type", PatchStrategy.JsonPatch);
  return {
    certificates: createSecretStore(core, places.namespace),
    publishBundle: (bundlePem) =>
      publishBundle(admission, places, bundlePem, (name, body) => admission.patchMutatingWebhookConfiguration({ name, body }, asJsonPatch)),
    async trustPins() {
      const what = `read ConfigMap ${places.namespace}/${TRUST_CONFIG_MAP}`;
      const found = await call(what, () => core.readNamespacedConfigMap({ name: TRUST_CONFIG_MAP, namespace: places.namespace }), [404]);
      return (found?.data?.["pin"] ?? "")
        .split(",")
        .map((pin) => pin.trim())
        .filter((pin) => pin !== "");
    },
  };
}

function createSecretStore(core: CoreV1Api, namespace: string): CertificateStore {
  const place = `Secret ${namespace}/${TLS_SECRET}`;

  async function load(): Promise<StoredMaterial | null> {
    const found = await call(`read ${place}`, () => core.readNamespacedSecret({ name: TLS_SECRET, namespace }), [404]);
    if (found === null) return null;
    const text = (key: string) => Buffer.from(found.data?.[key] ?? "", "base64").toString("utf8");
    const material = { certificatePem: text("tls.crt"), privateKeyPem: text("tls.key"), caBundlePem: text("ca.crt") };
    return { material, version: found.metadata?.resourceVersion ?? "" };
  }

  return {
    place,
    load,
    async save(material, version) {
      const body: V1Secret = {
        metadata: {
          name: TLS_SECRET,
          namespace,
          labels: { "app.kubernetes.io/part-of": "remora" },
          ...(version === null ? {} : { resourceVersion: version }),
        },
        type: "kubernetes.io/tls",
        stringData: { "tls.crt": material.certificatePem, "tls.key": material.privateKeyPem, "ca.crt": material.caBundlePem },
      };
      const saved =
        version === null
          ? await call(`create ${place}`, () => core.createNamespacedSecret({ namespace, body }), [409])
          : await call(`replace ${place}`, () => core.replaceNamespacedSecret({ name: TLS_SECRET, namespace, body }), [404, 409]);
      return saved !== null;
    },
  };
}

type PatchWebhook = (name: string, body: object) => Promise<unknown>;

async function publishBundle(
  admission: AdmissionregistrationV1Api,
  places: InjectorPlaces,
  bundlePem: string,
  patch: PatchWebhook,
): Promise<void> {
  const caBundle = Buffer.from(bundlePem).toString("base64");
  const place = `MutatingWebhookConfiguration ${places.webhook}`;
  for (let attempt = 1; attempt <= PATCH_ATTEMPTS; attempt += 1) {
    const found = await call(`read ${place}`, () => admission.readMutatingWebhookConfiguration({ name: places.webhook }), []);
    const stale = (found?.webhooks ?? []).flatMap((webhook, index) => {
      const { service } = webhook.clientConfig;
      const ours = service?.name === places.service && service.namespace === places.namespace;
      return ours && webhook.clientConfig.caBundle !== caBundle ? [index] : [];
    });
    if (stale.length === 0) return;
    const operations = [
      // The indexes are those of the object that was read.
      { op: "test", path: "/metadata/resourceVersion", value: found?.metadata?.resourceVersion },
      ...stale.map((index) => ({ op: "add", path: `/webhooks/${index}/clientConfig/caBundle`, value: caBundle })),
    ];
    const patched = await call(`patch ${place}`, () => patch(places.webhook, operations), [409, 422]);
    if (patched !== null) return;
  }
  throw new Error(`${place} changes faster than its caBundle can be patched`);
}

/** Runs one call with a deadline. Null for the statuses in `expected`; anything else is an Error saying what was tried. */
async function call<Value>(what: string, run: () => Promise<Value>, expected: readonly number[]): Promise<Value | null> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${CALL_TIMEOUT_MS / 1000} s`)), CALL_TIMEOUT_MS).unref();
  });
  try {
    return await Promise.race([run(), deadline]);
  } catch (cause) {
    const code = (cause as { readonly code?: unknown } | null)?.code;
    if (typeof code === "number" && expected.includes(code)) return null;
    const why = typeof code === "number" ? `the API server answers ${code}` : cause instanceof Error ? cause.message : String(cause);
    throw new Error(`cannot ${what}: ${why}`, { cause });
  } finally {
    clearTimeout(timer);
  }
}

// What the injector asks of the Kubernetes API: its certificate's Secret, the `caBundle` of its two webhook configurations, the pins of the mesh's roots,
// the cluster around a pod, and Events. Nothing else, which is what its RBAC says too.
import type { Environment } from "../../core/config.ts";
import type { CertificateStore, StoredMaterial } from "../webhook/certificate-store.ts";
import { type ClusterApi, call, createClusterApi, microTime } from "./cluster-api.ts";
import type { EventSink, ObjectReference } from "../webhook/events.ts";
import { findKubeAccess } from "./kube-access.ts";
import { createKubeHttp, type KubeHttp } from "./kube-http.ts";

/** Tries of one `caBundle` patch against others that change the object at the same time. */
const PATCH_ATTEMPTS = 5;
const TLS_SECRET = "remora-injector-tls";
/** Written by the CA: `pin` holds `sha256:<hex>` of each root, separated by commas. */
const TRUST_CONFIG_MAP = "remora-trust";

/** Places in the cluster. */
export interface InjectorPlaces {
  /** Namespace of the control plane. */
  readonly namespace: string;
  /** Name of our MutatingWebhookConfiguration and of our ValidatingWebhookConfiguration. */
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
  readonly cluster: ClusterApi;
  readonly events: EventSink;
}

/** Finds the cluster; see `findKubeAccess`. */
export async function connectInjectorKubernetes(
  places: InjectorPlaces,
  options: { readonly kubeconfig?: string; readonly env?: Environment } = {},
): Promise<InjectorKubernetes> {
  const http = createKubeHttp(await findKubeAccess({ env: {}, ...options }));
  const configMap = `/api/v1/namespaces/${places.namespace}/configmaps/${TRUST_CONFIG_MAP}`;
  return {
    certificates: createSecretStore(http, places.namespace),
    async publishBundle(bundlePem) {
      await publishBundle(http, MUTATING, places, bundlePem);
      await publishBundle(http, VALIDATING, places, bundlePem);
    },
    async trustPins() {
      const what = `read ConfigMap ${places.namespace}/${TRUST_CONFIG_MAP}`;
      const found = (await call(what, () => http.call("GET", configMap), [404])) as { readonly data?: Texts } | null;
      return (found?.data?.["pin"] ?? "")
        .split(",")
        .map((pin) => pin.trim())
        .filter((pin) => pin !== "");
    },
    cluster: createClusterApi(http, places.namespace),
    events: createEventSink(http),
  };
}

type Texts = Readonly<Record<string, string>>;

interface Secret {
  readonly metadata?: { readonly resourceVersion?: string };
  readonly data?: Texts;
}

function createSecretStore(http: KubeHttp, namespace: string): CertificateStore {
  const place = `Secret ${namespace}/${TLS_SECRET}`;
  const all = `/api/v1/namespaces/${namespace}/secrets`;

  async function load(): Promise<StoredMaterial | null> {
    const found = (await call(`read ${place}`, () => http.call("GET", `${all}/${TLS_SECRET}`), [404])) as Secret | null;
    if (found === null) return null;
    const text = (key: string) => Buffer.from(found.data?.[key] ?? "", "base64").toString("utf8");
    const material = { certificatePem: text("tls.crt"), privateKeyPem: text("tls.key"), caBundlePem: text("ca.crt") };
    return { material, version: found.metadata?.resourceVersion ?? "" };
  }

  return {
    place,
    load,
    async save(material, version) {
      const value = {
        apiVersion: "v1",
        kind: "Secret",
        metadata: {
          name: TLS_SECRET,
          namespace,
          labels: { "app.kubernetes.io/part-of": "remora" },
          ...(version === null ? {} : { resourceVersion: version }),
        },
        type: "kubernetes.io/tls",
        stringData: { "tls.crt": material.certificatePem, "tls.key": material.privateKeyPem, "ca.crt": material.caBundlePem },
      };
      const body = { type: "application/json", value } as const;
      const saved =
        version === null
          ? await call(`create ${place}`, () => http.call("POST", all, { body }), [409])
          : await call(`replace ${place}`, () => http.call("PUT", `${all}/${TLS_SECRET}`, { body }), [404, 409]);
      return saved !== null;
    },
  };
}

/** One of the two kinds of object in which webhooks stand. */
interface ConfigurationKind {
  readonly kind: string;
  readonly path: string;
  /** Without validation everything still works, only mistakes show later. */
  readonly isNeeded: boolean;
}

const ADMISSION = "/apis/admissionregistration.k8s.io/v1";
const MUTATING: ConfigurationKind = {
  kind: "MutatingWebhookConfiguration",
  path: `${ADMISSION}/mutatingwebhookconfigurations`,
  isNeeded: true,
};
const VALIDATING: ConfigurationKind = {
  kind: "ValidatingWebhookConfiguration",
  path: `${ADMISSION}/validatingwebhookconfigurations`,
  isNeeded: false,
};

interface WebhookConfiguration {
  readonly metadata?: { readonly resourceVersion?: string };
  readonly webhooks?: readonly {
    readonly clientConfig: { readonly caBundle?: string; readonly service?: { readonly name: string; readonly namespace: string } };
  }[];
}

async function publishBundle(
  http: KubeHttp,
  { kind, path, isNeeded }: ConfigurationKind,
  places: InjectorPlaces,
  bundlePem: string,
): Promise<void> {
  const caBundle = Buffer.from(bundlePem).toString("base64");
  const place = `${kind} ${places.webhook}`;
  const url = `${path}/${places.webhook}`;
  for (let attempt = 1; attempt <= PATCH_ATTEMPTS; attempt += 1) {
    const found = (await call(`read ${place}`, () => http.call("GET", url), isNeeded ? [] : [404])) as WebhookConfiguration | null;
    const stale = (found?.webhooks ?? []).flatMap(({ clientConfig }, index) => {
      const { service } = clientConfig;
      const ours = service?.name === places.service && service.namespace === places.namespace;
      return ours && clientConfig.caBundle !== caBundle ? [index] : [];
    });
    if (stale.length === 0) return;
    const value = [
      // The indexes are those of the object that was read.
      { op: "test", path: "/metadata/resourceVersion", value: found?.metadata?.resourceVersion },
      ...stale.map((index) => ({ op: "add", path: `/webhooks/${index}/clientConfig/caBundle`, value: caBundle })),
    ];
    const body = { type: "application/json-patch+json", value } as const;
    const patched = await call(`patch ${place}`, () => http.call("PATCH", url, { body }), [409, 422]);
    if (patched !== null) return;
  }
  throw new Error(`${place} changes faster than its caBundle can be patched`);
}

/** Writes Events, which `connectInjectorKubernetes` also gives. */
export function createEventSink(http: KubeHttp): EventSink {
  const at = (namespace: string) => `/apis/events.k8s.io/v1/namespaces/${encodeURIComponent(namespace)}/events`;
  return {
    async create({ name, atMs, regarding, ...event }) {
      const { namespace } = regarding;
      const metadata = { name, namespace };
      const value = { apiVersion: "events.k8s.io/v1", kind: "Event", metadata, ...event, regarding, eventTime: microTime(atMs) };
      await call(
        `create Event ${namespace}/${name}`,
        () => http.call("POST", at(namespace), { body: { type: "application/json", value } }),
        [],
      );
    },
    async countAgain({ namespace, name, count, atMs }) {
      const body = { type: "application/merge-patch+json", value: { series: { count, lastObservedTime: microTime(atMs) } } } as const;
      const path = `${at(namespace)}/${encodeURIComponent(name)}`;
      return (await call(`patch Event ${namespace}/${name}`, () => http.call("PATCH", path, { body }), [404])) !== null;
    },
    async controllerOf({ kind, namespace, name }) {
      const folder = kind === "ReplicaSet" ? "/apis/apps/v1" : "/apis/batch/v1";
      const path = `${folder}/namespaces/${encodeURIComponent(namespace)}/${kind === "ReplicaSet" ? "replicasets" : "jobs"}/${encodeURIComponent(name)}`;
      const found = (await call(`read ${kind} ${namespace}/${name}`, () => http.call("GET", path), [404])) as Owned | null;
      return controllerIn(found?.metadata?.ownerReferences ?? [], namespace);
    },
  };
}

interface Owned {
  readonly metadata?: {
    readonly ownerReferences?: readonly (Omit<ObjectReference, "namespace"> & { readonly controller?: boolean })[];
  };
}

function controllerIn(
  references: NonNullable<NonNullable<Owned["metadata"]>["ownerReferences"]>,
  namespace: string,
): ObjectReference | null {
  const controller = references.find((reference) => reference.controller === true);
  if (controller === undefined) return null;
  const { apiVersion, kind, name, uid } = controller;
  return { apiVersion, kind, namespace, name, ...(uid === undefined ? {} : { uid }) };
}

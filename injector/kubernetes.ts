// What the injector asks of the Kubernetes API: its certificate's Secret, the `caBundle` of its two webhook configurations, the pins of the mesh's roots,
// the cluster around a pod, and Events. Nothing else, which is what its RBAC says too. The client library is large and loads only here.
import type { AppsV1Api, BatchV1Api, CoreV1Api, EventsV1Api, V1OwnerReference, V1Secret } from "@kubernetes/client-node";
import type { CertificateStore, StoredMaterial } from "./certificate-store.ts";
import { type ClusterApi, call, createClusterApi } from "./cluster-api.ts";
import type { EventSink, ObjectReference } from "./events.ts";

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

/** Loads the client. `kubeconfig` is its YAML text; without it the pod's service account is used, or the user's default. */
export async function connectInjectorKubernetes(
  places: InjectorPlaces,
  options: { readonly kubeconfig?: string } = {},
): Promise<InjectorKubernetes> {
  const client = await import("@kubernetes/client-node");
  const config = new client.KubeConfig();
  if (options.kubeconfig === undefined) config.loadFromDefault();
  else config.loadFromString(options.kubeconfig);
  const core = config.makeApiClient(client.CoreV1Api);
  const admission = config.makeApiClient(client.AdmissionregistrationV1Api);
  const asJsonPatch = client.setHeaderOptions("Content-Type", client.PatchStrategy.JsonPatch);
  const asMergePatch = client.setHeaderOptions("Content-Type", client.PatchStrategy.MergePatch);
  const configurations: readonly Configurations[] = [
    {
      kind: "MutatingWebhookConfiguration",
      isNeeded: true,
      read: (name) => admission.readMutatingWebhookConfiguration({ name }),
      patch: (name, body) => admission.patchMutatingWebhookConfiguration({ name, body }, asJsonPatch),
    },
    {
      kind: "ValidatingWebhookConfiguration",
      isNeeded: false,
      read: (name) => admission.readValidatingWebhookConfiguration({ name }),
      patch: (name, body) => admission.patchValidatingWebhookConfiguration({ name, body }, asJsonPatch),
    },
  ];
  const apis = {
    events: config.makeApiClient(client.EventsV1Api),
    apps: config.makeApiClient(client.AppsV1Api),
    batch: config.makeApiClient(client.BatchV1Api),
  };
  return {
    certificates: createSecretStore(core, places.namespace),
    async publishBundle(bundlePem) {
      for (const configuration of configurations) await publishBundle(configuration, places, bundlePem);
    },
    async trustPins() {
      const what = `read ConfigMap ${places.namespace}/${TRUST_CONFIG_MAP}`;
      const found = await call(what, () => core.readNamespacedConfigMap({ name: TRUST_CONFIG_MAP, namespace: places.namespace }), [404]);
      return (found?.data?.["pin"] ?? "")
        .split(",")
        .map((pin) => pin.trim())
        .filter((pin) => pin !== "");
    },
    cluster: createClusterApi(core, new client.Watch(config), places.namespace),
    events: createEventSink(apis, {
      microTime: (ms) => new client.V1MicroTime(ms),
      patch: (namespace, name, body) => apis.events.patchNamespacedEvent({ namespace, name, body }, asMergePatch),
    }),
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

/** One of the two kinds of object in which webhooks stand. */
interface Configurations {
  readonly kind: string;
  /** Without validation everything still works, only mistakes show later. */
  readonly isNeeded: boolean;
  readonly read: (name: string) => Promise<{
    readonly metadata?: { readonly resourceVersion?: string };
    readonly webhooks?: readonly {
      readonly clientConfig: { readonly caBundle?: string; readonly service?: { readonly name: string; readonly namespace: string } };
    }[];
  }>;
  readonly patch: (name: string, body: object) => Promise<unknown>;
}

async function publishBundle({ kind, isNeeded, read, patch }: Configurations, places: InjectorPlaces, bundlePem: string): Promise<void> {
  const caBundle = Buffer.from(bundlePem).toString("base64");
  const place = `${kind} ${places.webhook}`;
  for (let attempt = 1; attempt <= PATCH_ATTEMPTS; attempt += 1) {
    const found = await call(`read ${place}`, () => read(places.webhook), isNeeded ? [] : [404]);
    const stale = (found?.webhooks ?? []).flatMap(({ clientConfig }, index) => {
      const { service } = clientConfig;
      const ours = service?.name === places.service && service.namespace === places.namespace;
      return ours && clientConfig.caBundle !== caBundle ? [index] : [];
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

interface EventApis {
  readonly events: EventsV1Api;
  readonly apps: AppsV1Api;
  readonly batch: BatchV1Api;
}

interface EventForms {
  readonly microTime: (ms: number) => Date;
  readonly patch: (namespace: string, name: string, body: object) => Promise<unknown>;
}

function createEventSink({ events, apps, batch }: EventApis, { microTime, patch }: EventForms): EventSink {
  return {
    async create({ name, atMs, regarding, ...event }) {
      const { namespace } = regarding;
      const body = { ...event, metadata: { name, namespace }, regarding: { ...regarding }, eventTime: microTime(atMs) };
      await call(`create Event ${namespace}/${name}`, () => events.createNamespacedEvent({ namespace, body }), []);
    },
    async countAgain({ namespace, name, count, atMs }) {
      const body = { series: { count, lastObservedTime: microTime(atMs).toISOString() } };
      const patched = await call(`patch Event ${namespace}/${name}`, () => patch(namespace, name, body), [404]);
      return patched !== null;
    },
    async controllerOf({ kind, namespace, name }) {
      const place = `${kind} ${namespace}/${name}`;
      const found =
        kind === "ReplicaSet"
          ? await call(`read ${place}`, () => apps.readNamespacedReplicaSet({ namespace, name }), [404])
          : await call(`read ${place}`, () => batch.readNamespacedJob({ namespace, name }), [404]);
      return controllerIn(found?.metadata?.ownerReferences ?? [], namespace);
    },
  };
}

function controllerIn(references: readonly V1OwnerReference[], namespace: string): ObjectReference | null {
  const controller = references.find((reference) => reference.controller === true);
  if (controller === undefined) return null;
  const { apiVersion, kind, name, uid } = controller;
  return { apiVersion, kind, namespace, name, uid };
}

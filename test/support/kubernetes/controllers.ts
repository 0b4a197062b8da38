// What Kubernetes' workload controllers do, as far as admission can see it: the objects between a workload and its pods, and the pods themselves with
// the names, labels, owners and users that the controllers give them. Only when is left to the test.
import { createHash } from "node:crypto";
import type { ApiClient, ApiObject, OwnerReference } from "./api-client.ts";

/** The `spec.template` of a workload. */
interface PodTemplate {
  readonly metadata?: { readonly labels?: Readonly<Record<string, string>>; readonly annotations?: Readonly<Record<string, string>> };
  readonly spec: object;
}

/** A pod as a controller would ask for it, and as whom. */
export interface PodRequest {
  readonly namespace: string;
  readonly pod: ApiObject;
  /** The controller's user name. */
  readonly as: string;
}

const PLURALS: Readonly<Record<string, string>> = {
  ReplicaSet: "apis/apps/v1/replicasets",
  Job: "apis/batch/v1/jobs",
};

/** The first pod that the workload's controller would ask for; makes the ReplicaSet or Job between them where there is one. `workload` is as stored. */
export async function requestOf(api: ApiClient, workload: ApiObject, index = 0): Promise<PodRequest> {
  switch (workload.kind) {
    case "Deployment":
      return requestOf(api, await makeChild(api, replicaSetOf(workload)));
    case "CronJob":
      return requestOf(api, await makeChild(api, jobOf(workload, index)));
    case "ReplicaSet":
      return podRequest(workload, "replicaset-controller", { generateName: `${workload.metadata.name}-` });
    case "ReplicationController":
      return podRequest(workload, "replication-controller", { generateName: `${workload.metadata.name}-` });
    case "DaemonSet":
      return podRequest(workload, "daemon-set-controller", { generateName: `${workload.metadata.name}-` });
    case "Job": {
      const labels = { "batch.kubernetes.io/job-name": workload.metadata.name ?? "", "job-name": workload.metadata.name ?? "" };
      return podRequest(workload, "job-controller", { generateName: `${workload.metadata.name}-`, labels });
    }
    case "StatefulSet": {
      const name = `${workload.metadata.name}-${index}`;
      const labels = { "statefulset.kubernetes.io/pod-name": name, "apps.kubernetes.io/pod-index": String(index) };
      return withClaims(workload, name, podRequest(workload, "statefulset-controller", { name, labels }));
    }
    default:
      throw new Error(`${workload.kind} makes no pods`);
  }
}

/** Asks for a pod and returns it as stored. @throws ApiError when it is refused */
export async function createPod(api: ApiClient, { namespace, pod, as }: PodRequest, query = ""): Promise<ApiObject> {
  return api.object(`/api/v1/namespaces/${namespace}/pods${query}`, { body: pod, as });
}

/** A pod of the workload, created as its controller would. @throws ApiError when it is refused */
export async function createPodOf(api: ApiClient, workload: ApiObject, index = 0): Promise<ApiObject> {
  return createPod(api, await requestOf(api, workload, index));
}

/** True for kinds that {@link requestOf} knows. */
export function makesPods(kind: string | undefined): boolean {
  return ["Deployment", "CronJob", "ReplicaSet", "ReplicationController", "DaemonSet", "Job", "StatefulSet"].includes(kind ?? "");
}

function podRequest(
  owner: ApiObject,
  controller: string,
  metadata: { readonly name?: string; readonly generateName?: string; readonly labels?: object },
): PodRequest {
  const { template } = owner["spec"] as { readonly template: PodTemplate };
  const namespace = owner.metadata.namespace ?? "default";
  return {
    namespace,
    as: `system:serviceaccount:kube-system:${controller}`,
    pod: {
      apiVersion: "v1",
      kind: "Pod",
      metadata: {
        ...metadata,
        labels: { ...template.metadata?.labels, ...metadata.labels },
        ...(template.metadata?.annotations === undefined ? {} : { annotations: template.metadata.annotations }),
        ownerReferences: [ownerReference(owner)],
      },
      spec: template.spec,
    },
  };
}

/** What a StatefulSet's pods have over its template: a volume of each claim, and a name in the DNS. */
function withClaims(owner: ApiObject, name: string, request: PodRequest): PodRequest {
  const { volumeClaimTemplates = [], serviceName } = owner["spec"] as {
    readonly volumeClaimTemplates?: ReadonlyArray<{ readonly metadata: { readonly name: string } }>;
    readonly serviceName?: string;
  };
  const claims = volumeClaimTemplates.map(({ metadata }) => ({
    name: metadata.name,
    persistentVolumeClaim: { claimName: `${metadata.name}-${name}` },
  }));
  const spec = request.pod["spec"] as { readonly volumes?: readonly object[] };
  const volumes = [...claims, ...(spec.volumes ?? [])];
  const subdomain = serviceName === undefined || serviceName === "" ? {} : { subdomain: serviceName };
  const placed = { ...spec, hostname: name, ...subdomain, ...(volumes.length > 0 ? { volumes } : {}) };
  return { ...request, pod: { ...request.pod, spec: placed } };
}

function replicaSetOf(deployment: ApiObject): ApiObject {
  const { template, selector } = deployment["spec"] as {
    readonly template: PodTemplate;
    readonly selector: { readonly matchLabels?: object };
  };
  const hash = createHash("sha256")
    .update(JSON.stringify(template))
    .digest("hex")
    .slice(0, 10)
    .replace(/[aeiou013]/g, "x");
  const labels = { ...template.metadata?.labels, "pod-template-hash": hash };
  return {
    apiVersion: "apps/v1",
    kind: "ReplicaSet",
    metadata: childMetadata(deployment, `${deployment.metadata.name}-${hash}`, labels),
    spec: {
      replicas: (deployment["spec"] as { readonly replicas?: number }).replicas ?? 1,
      selector: { ...selector, matchLabels: { ...selector.matchLabels, "pod-template-hash": hash } },
      template: { ...template, metadata: { ...template.metadata, labels } },
    },
  };
}

function jobOf(cronJob: ApiObject, index: number): ApiObject {
  const { jobTemplate } = cronJob["spec"] as {
    readonly jobTemplate: { readonly metadata?: { readonly labels?: object }; readonly spec: object };
  };
  return {
    apiVersion: "batch/v1",
    kind: "Job",
    // The controller names a job after the minute it is for.
    metadata: childMetadata(cronJob, `${cronJob.metadata.name}-${29_000_000 + index}`, jobTemplate.metadata?.labels ?? {}),
    spec: jobTemplate.spec,
  };
}

function childMetadata(owner: ApiObject, name: string, labels: object): ApiObject["metadata"] {
  return { name, namespace: owner.metadata.namespace ?? "default", labels: { ...labels }, ownerReferences: [ownerReference(owner)] };
}

function ownerReference({ apiVersion, kind, metadata }: ApiObject): OwnerReference & { readonly blockOwnerDeletion: boolean } {
  const identity = { apiVersion: apiVersion ?? "v1", kind: kind ?? "", name: metadata.name ?? "", uid: metadata.uid ?? "" };
  return { ...identity, controller: true, blockOwnerDeletion: true };
}

/** Creates it, or gives the one that is there. */
async function makeChild(api: ApiClient, child: ApiObject): Promise<ApiObject> {
  const [group = "", version = "", plural = ""] = (PLURALS[child.kind ?? ""] ?? "").split("/").slice(1);
  const path = `/apis/${group}/${version}/namespaces/${child.metadata.namespace}/${plural}`;
  const stored = await api.object(path, { body: child }).catch((error: { readonly status?: number }) => {
    if (error.status !== 409) throw error;
    return api.object(`${path}/${child.metadata.name}`);
  });
  return { ...stored, apiVersion: `${group}/${version}`, kind: child.kind ?? "" };
}

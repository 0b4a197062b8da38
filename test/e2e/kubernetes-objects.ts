// The objects that Kubernetes' own controllers would make of the tests' manifests: pods of Deployments, Services with addresses, EndpointSlices. Pure;
// when they are written is cluster.ts.
import type { KubeObject } from "../support/kube-api.ts";
import type { RunningPod } from "../support/pod-runner/pod.ts";
import { type Pod, type PodFacts, type PodSpec, portNumber } from "../support/pod-runner/pod-spec.ts";

export interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly labels?: Record<string, string> };
  readonly spec?: unknown;
}

export interface ServiceSpec {
  readonly selector?: Readonly<Record<string, string>>;
  readonly ports: ReadonlyArray<{
    readonly name?: string;
    readonly port: number;
    readonly targetPort?: number | string;
    readonly appProtocol?: string;
  }>;
}

export interface DeployedPod {
  /** `namespace/name` of the Deployment, or of the bare pod. */
  readonly owner: string;
  readonly spec: Pod;
  readonly running: RunningPod;
}

/** A Service and its virtual addresses. */
export interface Service {
  readonly spec: ServiceSpec;
  readonly ipv4: string;
  readonly ipv6: string;
}

/** The pods of a Deployment, or the one of a Pod manifest, as their controllers would create them. */
export function podsOf(manifest: Manifest): { owner: string; pod: Pod }[] {
  const namespace = manifest.metadata.namespace ?? "default";
  const owner = `${namespace}/${manifest.metadata.name}`;
  if (manifest.kind === "Pod") return [{ owner, pod: { metadata: { ...manifest.metadata, namespace }, spec: manifest.spec as PodSpec } }];
  const { replicas = 1, template } = manifest.spec as { replicas?: number; template: { metadata: object; spec: PodSpec } };
  return Array.from({ length: replicas }, (_, i) => ({
    owner,
    pod: { metadata: { ...template.metadata, namespace, name: `${manifest.metadata.name}-${i}` }, spec: structuredClone(template.spec) },
  }));
}

export function serviceObject({ metadata }: Manifest, { spec, ipv4, ipv6 }: Service): KubeObject {
  const ports = spec.ports.map((port) => ({ protocol: "TCP", targetPort: port.port, ...port }));
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { ...metadata, namespace: metadata.namespace ?? "default" },
    spec: { type: "ClusterIP", selector: spec.selector, ports, clusterIP: ipv4, clusterIPs: [ipv4, ipv6], ipFamilies: ["IPv4", "IPv6"] },
  };
}

export function podObject({ metadata, spec }: Pod, facts: PodFacts, isReady: boolean): KubeObject {
  const { labels = {}, annotations = {} } = metadata;
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: metadata.name, namespace: facts.namespace, uid: facts.uid, labels: { ...labels }, annotations: { ...annotations } },
    spec: { ...structuredClone(spec), nodeName: facts.nodeName },
    status: {
      phase: "Running",
      podIP: facts.podIps[0],
      podIPs: facts.podIps.map((ip) => ({ ip })),
      conditions: [{ type: "Ready", status: isReady ? "True" : "False" }],
    },
  };
}

/** Lines of /etc/hosts in the place of cluster DNS. */
export function hostLines(id: string, { ipv4, ipv6 }: Service): readonly string[] {
  const [namespace = "", name = ""] = id.split("/");
  const names = `${name}.${namespace} ${name}.${namespace}.svc ${name}.${namespace}.svc.cluster.local ${name}`;
  return [`${ipv4} ${names}`, `${ipv6} ${names}`];
}

/** True when the pod got a sidecar. */
export function isMeshed({ spec: { spec } }: DeployedPod): boolean {
  return [...(spec.initContainers ?? []), ...spec.containers].some(({ name }) => name === "remora-sidecar");
}

/** True when `service` (`namespace/name`) selects the pod. */
export function isSelected({ spec: pod }: DeployedPod, service: string, { selector = {} }: ServiceSpec): boolean {
  const isSameNamespace = service.startsWith(`${pod.metadata.namespace ?? "default"}/`);
  return isSameNamespace && Object.entries(selector).every(([label, value]) => pod.metadata.labels?.[label] === value);
}

/** As the endpoint controller writes it, for one Service and family. */
export function endpointSlice(
  id: string,
  spec: ServiceSpec,
  family: "IPv4" | "IPv6",
  pods: readonly DeployedPod[],
  isReady: (pod: RunningPod) => boolean,
) {
  const [namespace = "", name = ""] = id.split("/");
  const selected = pods.filter((pod) => isSelected(pod, id, spec));
  const targetOf = (port: ServiceSpec["ports"][number]) => {
    const target = port.targetPort ?? port.port;
    const containers = selected[0]?.spec.spec.containers ?? [];
    const container =
      typeof target === "number" ? containers[0] : containers.find(({ ports }) => ports?.some(({ name: portName }) => portName === target));
    return container === undefined ? 0 : portNumber(container, target);
  };
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: `${name}-${family.toLowerCase()}`, namespace, labels: { "kubernetes.io/service-name": name } },
    addressType: family,
    ports: spec.ports.map((port) => ({
      name: port.name ?? "",
      port: targetOf(port),
      protocol: "TCP",
      ...(port.appProtocol === undefined ? {} : { appProtocol: port.appProtocol }),
    })),
    endpoints: selected.map(({ running }) => ({
      addresses: [running.facts.podIps[family === "IPv4" ? 0 : 1] ?? ""],
      conditions: { ready: isReady(running), serving: running.isReady(), terminating: running.isReady() && !isReady(running) },
      targetRef: { kind: "Pod", name: running.name, namespace, uid: running.facts.uid },
    })),
  };
}

// The objects of a large cluster as its API server stores them: Services, one EndpointSlice each, and injected Pods of a usual size (some 5 KB). Each Service
// has as many endpoints as the others, and each Pod is an endpoint.
import { createHash } from "node:crypto";

const NAMESPACES = 50;
const WITH_ADDRESS = 300;
const CREATED = "2026-01-01T00:00:00Z";

/** One object and its key in etcd. */
export interface StoredObject {
  readonly key: string;
  readonly object: object;
}

/** Everything, one by one. */
export function* clusterObjects(services: number, pods: number): Iterable<StoredObject> {
  const perService = Math.floor(pods / services);
  for (let at = 0; at < NAMESPACES; at += 1) yield { key: `/registry/namespaces/ns-${at}`, object: namespaceCalled(`ns-${at}`) };
  for (let at = 0; at < services; at += 1) {
    const namespace = `ns-${at % NAMESPACES}`;
    const members = Array.from({ length: perService }, (_, member) => memberOf(at * perService + member, at));
    yield { key: `/registry/services/specs/${namespace}/service-${at}`, object: service(at, namespace) };
    yield { key: `/registry/endpointslices/${namespace}/service-${at}-x`, object: slice(at, namespace, members) };
    for (const member of members) yield { key: `/registry/pods/${namespace}/${member.name}`, object: pod(at, namespace, member) };
  }
}

interface Member {
  readonly name: string;
  readonly uid: string;
  readonly address: string;
}

function memberOf(index: number, service: number): Member {
  const address = `10.${64 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`;
  return { name: `service-${service}-6d4b75cb6d-${index}`, uid: uidOf(`pod ${index}`), address };
}

function uidOf(text: string): string {
  const hex = createHash("sha256").update(text).digest("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

function metadata(name: string, namespace: string, uid: string, more: object = {}): object {
  return { name, namespace, uid, creationTimestamp: CREATED, ...more };
}

function namespaceCalled(name: string): object {
  const metadata = { name, uid: uidOf(`namespace ${name}`), creationTimestamp: CREATED };
  return { apiVersion: "v1", kind: "Namespace", metadata, spec: { finalizers: ["kubernetes"] }, status: { phase: "Active" } };
}

/** The first have cluster addresses; the API server does not start while it has to account for thousands that it did not give out itself. */
function clusterIpOf(at: number): string {
  return at < WITH_ADDRESS ? `10.96.${4 + (at >> 8)}.${at & 255}` : "None";
}

function service(at: number, namespace: string): object {
  const clusterIP = clusterIpOf(at);
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: metadata(`service-${at}`, namespace, uidOf(`service ${at}`), { labels: { app: `service-${at}` } }),
    spec: {
      type: "ClusterIP",
      clusterIP,
      clusterIPs: [clusterIP],
      ipFamilies: ["IPv4"],
      ipFamilyPolicy: "SingleStack",
      internalTrafficPolicy: "Cluster",
      sessionAffinity: "None",
      selector: { app: `service-${at}` },
      ports: [
        { name: "http", port: 80, targetPort: "web", protocol: "TCP" },
        { name: "grpc", port: 9000, targetPort: 9000, protocol: "TCP" },
      ],
    },
    status: { loadBalancer: {} },
  };
}

function slice(at: number, namespace: string, members: readonly Member[]): object {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: metadata(`service-${at}-x`, namespace, uidOf(`slice ${at}`), {
      labels: { "kubernetes.io/service-name": `service-${at}`, app: `service-${at}` },
    }),
    addressType: "IPv4",
    ports: [
      { name: "http", port: 8080, protocol: "TCP" },
      { name: "grpc", port: 9000, protocol: "TCP" },
    ],
    endpoints: members.map(({ name, uid, address }) => ({
      addresses: [address],
      conditions: { ready: true, serving: true, terminating: false },
      nodeName: "node-1",
      zone: "zone-1",
      targetRef: { kind: "Pod", name, namespace, uid },
    })),
  };
}

function pod(at: number, namespace: string, { name, uid, address }: Member): object {
  const env = Array.from({ length: 30 }, (_, index) => ({ name: `SETTING_${index}`, value: `a value as settings have them, ${index}` }));
  const container = (named: string, more: object) => ({
    name: named,
    image: `registry.example/${named}:1.2.3`,
    resources: { requests: { cpu: "50m", memory: "64Mi" } },
    terminationMessagePath: "/dev/termination-log",
    imagePullPolicy: "IfNotPresent",
    ...more,
  });
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: metadata(name, namespace, uid, { labels: { app: `service-${at}`, "pod-template-hash": "6d4b75cb6d" } }),
    spec: {
      serviceAccountName: `account-${at}`,
      nodeName: "node-1",
      restartPolicy: "Always",
      dnsPolicy: "ClusterFirst",
      initContainers: [container("remora-init", { env: [{ name: "REMORA_ADMIN_PORT", value: "15020" }] })],
      containers: [container("app", { env, ports: [{ name: "web", containerPort: 8080, protocol: "TCP" }] }), container("remora", { env })],
    },
    status: {
      phase: "Running",
      podIP: address,
      podIPs: [{ ip: address }],
      conditions: ["Initialized", "Ready", "ContainersReady", "PodScheduled"].map((type) => ({ type, status: "True" })),
    },
  };
}

// Sidecars of other meshes: how they are recognized in a pod, by the names and images of their containers and by the marks that their injectors leave.
// Two sidecars that both redirect a pod's traffic leave it without any.
import { repositoryOf } from "../pod/image-reference.ts";
import { allContainers, type Pod } from "../pod/pod.ts";

/** One mesh. */
interface MeshSigns {
  readonly mesh: string;
  readonly containers: readonly string[];
  /** What a repository's path ends in. */
  readonly images: readonly RegExp[];
  /** Annotations and labels that its injector leaves; any value, unless one is named. */
  readonly left: readonly (readonly [key: string, value?: string])[];
  /** Annotations and labels by which a pod asks its injector. */
  readonly asks: readonly (readonly [key: string, value: string])[];
}

const MESHES: readonly MeshSigns[] = [
  {
    mesh: "Istio",
    containers: ["istio-proxy", "istio-init", "istio-validation"],
    images: [/(^|\/)proxyv2$/],
    left: [["sidecar.istio.io/status"], ["ambient.istio.io/redirection", "enabled"]],
    asks: [
      ["sidecar.istio.io/inject", "true"],
      ["istio.io/dataplane-mode", "ambient"],
    ],
  },
  {
    mesh: "Linkerd",
    containers: ["linkerd-proxy", "linkerd-init", "linkerd-network-validator"],
    images: [/(^|\/)linkerd\/(proxy|proxy-init)$/],
    left: [["linkerd.io/proxy-version"], ["linkerd.io/control-plane-ns"]],
    asks: [
      ["linkerd.io/inject", "enabled"],
      ["linkerd.io/inject", "ingress"],
    ],
  },
  {
    mesh: "Consul",
    containers: ["consul-dataplane", "consul-connect-inject-init", "consul-connect-envoy-sidecar"],
    images: [/(^|\/)consul-dataplane$/],
    left: [["consul.hashicorp.com/connect-inject-status", "injected"]],
    asks: [["consul.hashicorp.com/connect-inject", "true"]],
  },
  {
    mesh: "Kuma",
    containers: ["kuma-sidecar", "kuma-init", "kuma-validation"],
    images: [/(^|\/)kuma-(dp|init)$/],
    left: [["kuma.io/sidecar-injected"]],
    asks: [
      ["kuma.io/sidecar-injection", "enabled"],
      ["kuma.io/sidecar-injection", "true"],
    ],
  },
  {
    mesh: "Dapr",
    containers: ["daprd"],
    images: [/(^|\/)daprd$/],
    left: [],
    asks: [["dapr.io/enabled", "true"]],
  },
];

/** The sidecar of another mesh that is already there, such as "Istio (container istio-proxy)"; null when there is none. */
export function findOtherMesh(pod: Pod): string | null {
  const found = containerOf(pod) ?? markOf(pod);
  return found === null ? null : `${found.mesh} (${found.sign})`;
}

/** Another mesh whose injector the pod asks for, such as "Dapr (dapr.io/enabled: true)"; null when there is none. */
export function asksOtherMesh(pod: Pod): string | null {
  const { annotations, labels } = pod.metadata ?? {};
  for (const { mesh, asks } of MESHES) {
    const ask = asks.find(([key, value]) => ownText(annotations, key) === value || ownText(labels, key) === value);
    if (ask !== undefined) return `${mesh} (${ask[0]}: ${ask[1]})`;
  }
  return null;
}

interface Found {
  readonly mesh: string;
  readonly sign: string;
}

function containerOf(pod: Pod): Found | null {
  for (const { name, image } of allContainers(pod)) {
    const repository = typeof image === "string" ? repositoryOf(image) : "";
    for (const { mesh, containers, images } of MESHES) {
      if (containers.includes(name) || images.some((sign) => sign.test(repository))) return { mesh, sign: `container ${name}` };
    }
  }
  return null;
}

function markOf(pod: Pod): Found | null {
  const { annotations, labels } = pod.metadata ?? {};
  for (const { mesh, left } of MESHES) {
    // An annotation and a label of the same name may both be there.
    const mark = left.find(([key, wanted]) => isMark(ownText(annotations, key), wanted) || isMark(ownText(labels, key), wanted));
    if (mark !== undefined) return { mesh, sign: mark[0] };
  }
  return null;
}

function isMark(value: string | undefined, wanted: string | undefined): boolean {
  if (value === undefined) return false;
  return wanted === undefined ? value !== "" && value !== "false" : value === wanted;
}

function ownText(texts: Readonly<Record<string, string>> | null | undefined, key: string): string | undefined {
  return texts != null && Object.hasOwn(texts, key) ? texts[key] : undefined;
}

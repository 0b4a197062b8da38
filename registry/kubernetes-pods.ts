// What the registry keeps of Pods and Namespaces: whose a pod is, where it is, and which of its ports lead past its sidecar. Pure and total.
import { fieldsOf, listOf, portOf, textOf } from "../core/kubernetes/json-fields.ts";
import { canonicalAddress } from "./address.ts";

const SKIPPED_PORTS_ANNOTATION = "remora.io/skip-inbound-ports";
/** The container that programs the capture, as the injector calls it, and what it was told. */
const INIT_CONTAINER = "remora-init";
const SKIPPED_PORTS_SETTING = "REMORA_SKIP_INBOUND_PORTS";
const ADMIN_PORT_SETTING = "REMORA_ADMIN_PORT";
/** The sidecar's admin port is never captured (design 5). */
const ADMIN_PORT = 15020;
const ONLY_ADMIN: ReadonlySet<number> = new Set([ADMIN_PORT]);

/** What is kept of a pod that lives. Immutable. */
export interface KubernetesPod {
  readonly uid: string;
  readonly namespace: string;
  readonly resourceVersion: string;
  /** `namespace/service-account` */
  readonly account: string;
  /** Canonical; empty until the pod has any. Those of its node where it is on the host's network. */
  readonly addresses: readonly string[];
  readonly onHostNetwork: boolean;
  /** Null: as its namespace says. */
  readonly skippedPorts: ReadonlySet<number> | null;
}

/** What is kept of a namespace that says anything. */
export interface KubernetesNamespace {
  readonly resourceVersion: string;
  readonly skippedPorts: ReadonlySet<number>;
}

/** Null for what is no pod, and for one that is over: its address may be another's already. */
export function readPod(object: unknown): KubernetesPod | null {
  const metadata = fieldsOf(fieldsOf(object)["metadata"]);
  const spec = fieldsOf(fieldsOf(object)["spec"]);
  const status = fieldsOf(fieldsOf(object)["status"]);
  const [uid, namespace] = [textOf(metadata["uid"]), textOf(metadata["namespace"])];
  if (uid === "" || namespace === "" || status["phase"] === "Succeeded" || status["phase"] === "Failed") return null;
  const given = [status["podIP"], ...listOf(status["podIPs"]).map((entry) => fieldsOf(entry)["ip"])];
  const addresses = new Set(given.map((address) => canonicalAddress(textOf(address))).filter((address) => address !== null));
  return {
    uid,
    namespace,
    resourceVersion: textOf(metadata["resourceVersion"]),
    account: `${namespace}/${textOf(spec["serviceAccountName"]) || "default"}`,
    addresses: [...addresses],
    onHostNetwork: spec["hostNetwork"] === true,
    skippedPorts: readInitContainer(spec) ?? readSkippedPorts(metadata),
  };
}

/** The ports that a namespace's pods skip where they say nothing; null where it says nothing either. */
export function readNamespace(object: unknown): KubernetesNamespace | null {
  const metadata = fieldsOf(fieldsOf(object)["metadata"]);
  const skippedPorts = readSkippedPorts(metadata);
  return skippedPorts === null ? null : { resourceVersion: textOf(metadata["resourceVersion"]), skippedPorts };
}

/** What a pod skips when neither it nor its namespace says anything. */
export const USUALLY_SKIPPED = ONLY_ADMIN;

/** What the capture of this pod was really made with: annotations may have changed since, those of the namespace too. */
function readInitContainer(spec: { readonly [field: string]: unknown }): ReadonlySet<number> | null {
  const container = listOf(spec["initContainers"])
    .map(fieldsOf)
    .find(({ name }) => name === INIT_CONTAINER);
  if (container === undefined) return null;
  const settings = listOf(container["env"]).map(fieldsOf);
  const setting = (wanted: string) => textOf(settings.find(({ name }) => name === wanted)?.["value"]);
  return portSet(Number(setting(ADMIN_PORT_SETTING)), setting(SKIPPED_PORTS_SETTING));
}

function readSkippedPorts(metadata: { readonly [field: string]: unknown }): ReadonlySet<number> | null {
  const text = textOf(fieldsOf(metadata["annotations"])[SKIPPED_PORTS_ANNOTATION]);
  return text === "" ? null : portSet(ADMIN_PORT, text);
}

function portSet(adminPort: number, text: string): ReadonlySet<number> {
  const ports = text
    .split(",", 256)
    .map((part) => portOf(Number(part.trim())))
    .filter((port) => port !== null);
  const admin = portOf(adminPort) ?? ADMIN_PORT;
  return ports.length === 0 && admin === ADMIN_PORT ? ONLY_ADMIN : new Set([admin, ...ports]);
}

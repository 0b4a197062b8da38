// Surroundings out of Kubernetes objects that somebody has at hand: the Namespace, LimitRange, ResourceQuota, Node and ConfigMap objects that stand in the
// same manifests as the workloads. What is not among them is unknown, and taken as if there were nothing.
import { ConfigError } from "../core/errors.ts";
import { oldest, readKubelet, readLimitRange, readNamespace, readPlatform, readQuota } from "./cluster/cluster-facts.ts";
import { fieldsOf, itemsOf, textsOf } from "./pod/loose-fields.ts";
import { PLATFORM_CONFIG_MAP } from "./platform/platform.ts";
import { noSurroundings, type Surroundings } from "./surroundings.ts";

const MAX_NESTED_LISTS = 8;

/** Finds the surroundings of each namespace among `objects` (Lists are opened). @throws ConfigError when the platform's ConfigMap has mistakes */
export function givenSurroundings(objects: readonly unknown[], fallbackNamespace: string): (namespaceName: string) => Surroundings {
  const all = objects.flatMap((object) => openList(object, 0)).map(withTextAmounts);
  const ofKind = (kind: string) => all.filter((object) => fieldsOf(object)["kind"] === kind);
  const inNamespace = (kind: string, name: string) => ofKind(kind).filter((object) => (namespaceOf(object) ?? fallbackNamespace) === name);
  const platform = platformAmong(ofKind("ConfigMap"));
  const kubelets = ofKind("Node").flatMap((node) => readKubelet(node) ?? []);
  return (namespaceName) => {
    const usual = noSurroundings(namespaceName);
    const namespace = ofKind("Namespace")
      .map(readNamespace)
      .find(({ name }) => name === namespaceName);
    return {
      namespace: namespace ?? usual.namespace,
      oldestKubelet: oldest(kubelets),
      limitRanges: inNamespace("LimitRange", namespaceName).map(readLimitRange),
      quotas: inNamespace("ResourceQuota", namespaceName).map(readQuota),
      platform: platform ?? usual.platform,
    };
  };
}

function platformAmong(configMaps: readonly unknown[]): Surroundings["platform"] | null {
  const found = configMaps.find((object) => fieldsOf(fieldsOf(object)["metadata"])["name"] === PLATFORM_CONFIG_MAP);
  if (found === undefined) return null;
  const platform = readPlatform(found);
  if ("mistakes" in platform) throw new ConfigError("invalid_value", `ConfigMap ${PLATFORM_CONFIG_MAP}: ${platform.mistakes}`);
  return platform;
}

function openList(object: unknown, depth: number): readonly unknown[] {
  const { kind, items } = fieldsOf(object);
  if (typeof kind !== "string" || !kind.endsWith("List") || !Array.isArray(items) || depth === MAX_NESTED_LISTS) return [object];
  return items.flatMap((item) => openList(item, depth + 1));
}

function namespaceOf(object: unknown): string | undefined {
  return textsOf(fieldsOf(object)["metadata"])["namespace"];
}

/** In YAML an amount may be a number (`cpu: 2`), which the API server writes as a text. */
function withTextAmounts(object: unknown): unknown {
  const fields = fieldsOf(object);
  const spec = fieldsOf(fields["spec"]);
  switch (fields["kind"]) {
    case "ResourceQuota":
      return { ...fields, spec: { ...spec, hard: textsOf(spec["hard"]) } };
    case "LimitRange":
      return { ...fields, spec: { ...spec, limits: itemsOf(spec["limits"]).map(withTextBounds) } };
    default:
      return object;
  }
}

function withTextBounds(item: unknown): unknown {
  const bounds = Object.entries(fieldsOf(item)).map(([name, value]) => [name, name === "type" ? value : textsOf(value)]);
  return Object.fromEntries(bounds);
}

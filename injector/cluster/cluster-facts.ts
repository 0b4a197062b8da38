// From Kubernetes objects to the few facts that the injector keeps of them. Pure, and total: the API server checked the objects, but a field that is not
// what we expect must not stop the watch.
import { ConfigError } from "../../core/errors.ts";
import { fieldsOf, listOf, textOf, textsOf } from "../../core/kubernetes/json-fields.ts";
import { defaultPlatform, PLATFORM_KEY, type Platform, parsePlatform } from "../platform/platform.ts";
import type { LimitRangeFacts, LimitRangeItemFacts, NamespaceFacts, QuotaFacts } from "../surroundings.ts";

/** Annotations may be 256 KB for each namespace; only ours mean anything to us. */
const OWN_ANNOTATIONS = "remora.io/";

/** Labels, and our own annotations. */
export function readNamespace(object: unknown): NamespaceFacts {
  const metadata = fieldsOf(fieldsOf(object)["metadata"]);
  const annotations = Object.entries(textsOf(metadata["annotations"])).filter(([name]) => name.startsWith(OWN_ANNOTATIONS));
  return Object.freeze({
    name: textOf(metadata["name"]),
    labels: Object.freeze(textsOf(metadata["labels"])),
    annotations: Object.freeze(Object.fromEntries(annotations)),
  });
}

/** The kubelet's version where the node may be given pods and runs Linux; null for any other node. */
export function readKubelet(object: unknown): string | null {
  const { spec, status } = fieldsOf(object);
  if (fieldsOf(spec)["unschedulable"] === true) return null;
  const info = fieldsOf(fieldsOf(status)["nodeInfo"]);
  const version = textOf(info["kubeletVersion"]);
  return version === "" || info["operatingSystem"] === "windows" ? null : version;
}

/** The lowest of `versions`, such as "v1.31.2"; those that are no versions do not count. */
export function oldest(versions: Iterable<string>): string | null {
  let lowest: { readonly version: string; readonly parts: readonly number[] } | null = null;
  for (const version of versions) {
    const match = /^v?(\d+)\.(\d+)(?:\.(\d+))?/.exec(version);
    if (match === null) continue;
    const parts = match.slice(1).map((part) => Number(part ?? 0));
    if (lowest === null || isLower(parts, lowest.parts)) lowest = { version, parts };
  }
  return lowest?.version ?? null;
}

function isLower(parts: readonly number[], than: readonly number[]): boolean {
  const index = parts.findIndex((part, place) => part !== than[place]);
  return index >= 0 && (parts[index] ?? 0) < (than[index] ?? 0);
}

/** The bounds of a LimitRange. */
export function readLimitRange(object: unknown): LimitRangeFacts {
  const { metadata, spec } = fieldsOf(object);
  return { name: textOf(fieldsOf(metadata)["name"]), items: listOf(fieldsOf(spec)["limits"]).map(readItem) };
}

function readItem(value: unknown): LimitRangeItemFacts {
  const item = fieldsOf(value);
  return {
    type: textOf(item["type"]),
    min: textsOf(item["min"]),
    max: textsOf(item["max"]),
    // The client library renames the field, as `default` is a word of the language.
    default: textsOf(item["default"] ?? item["_default"]),
    defaultRequest: textsOf(item["defaultRequest"]),
    maxLimitRequestRatio: textsOf(item["maxLimitRequestRatio"]),
  };
}

/** The bounds of a ResourceQuota and what is used of them. */
export function readQuota(object: unknown): QuotaFacts {
  const { metadata, spec, status } = fieldsOf(object);
  const scopes = fieldsOf(spec)["scopes"];
  return {
    name: textOf(fieldsOf(metadata)["name"]),
    hard: textsOf(fieldsOf(spec)["hard"]),
    used: textsOf(fieldsOf(status)["used"]),
    scoped: (Array.isArray(scopes) && scopes.length > 0) || fieldsOf(fieldsOf(spec)["scopeSelector"])["matchExpressions"] !== undefined,
  };
}

/** What the ConfigMap says, or the mistakes in it. Without the key nothing is decided. */
export function readPlatform(object: unknown): Platform | { readonly mistakes: string } {
  const yaml = textsOf(fieldsOf(object)["data"])[PLATFORM_KEY];
  if (yaml === undefined) return defaultPlatform;
  try {
    return parsePlatform(yaml);
  } catch (error) {
    if (error instanceof ConfigError) return { mistakes: error.message };
    throw error;
  }
}

// What `remora explain -f` finds in manifests: the workloads, and around them the Namespaces and the platform's ConfigMap, where the file has them.
import { INJECT_LABEL } from "../../injector/annotations/annotations.ts";
import { readNamespace, readPlatform } from "../../injector/cluster/cluster-facts.ts";
import { ConfigError } from "../../core/errors.ts";
import type { Asker } from "../../injector/decide/decide.ts";
import type { ManifestDocument } from "../../injector/manifest.ts";
import { PLATFORM_CONFIG_MAP } from "../../injector/platform/platform.ts";
import { readSwitch } from "../../injector/decide/report.ts";
import { noSurroundings, type Surroundings } from "../../injector/surroundings.ts";
import { findPods, type PodPlace } from "../../injector/pod/workload.ts";
import type { Subject } from "./explanation.ts";
import { podFromTemplate, WORKLOAD_KINDS } from "./kinds.ts";

/** One workload of the file, and what the file says of its surroundings. */
export interface ManifestSubject {
  readonly subject: Subject;
  readonly surroundings: Surroundings;
  readonly asker: Asker;
  readonly notes: readonly string[];
}

/** Finds every workload. `fallbackNamespace` is that of objects that name none. @throws ConfigError when the platform's ConfigMap has mistakes */
export function subjectsOf(documents: readonly ManifestDocument[], fallbackNamespace: string): readonly ManifestSubject[] {
  const objects = documents.flatMap(({ value }) => flatten(value));
  const namespaces = new Map(
    objects.filter((object) => isKind(object, "Namespace")).map((object) => [nameOf(object), readNamespace(object)]),
  );
  const platform = platformOf(objects);
  return documents
    .flatMap(({ value }) => findPods(value, INJECT_LABEL))
    .filter((place): place is PodPlace => place.path !== null)
    .map((place) => {
      const namespace = place.namespace ?? fallbackNamespace;
      const known = namespaces.get(namespace);
      const usual = noSurroundings(namespace);
      const subject = subjectAt(place, namespace);
      const misplaced = place.labelMisplaced
        ? [`the label ${INJECT_LABEL} has no effect on ${place.owner}; it belongs on the pod template`]
        : [];
      return {
        subject,
        surroundings: { ...usual, platform: platform ?? usual.platform, ...(known === undefined ? {} : { namespace: known }) },
        // Whose namespace is not known is asked about as if it were opted in: that is what the question is about.
        asker: known === undefined ? { kind: "command" } : { kind: "namespace", label: readSwitch(known.labels[INJECT_LABEL]) },
        notes: [
          ...(known === undefined ? [`the file has no Namespace ${namespace}, which is taken as opted in and without defaults`] : []),
          ...misplaced,
        ],
      };
    });
}

function subjectAt({ owner, value }: PodPlace, namespace: string): Subject {
  const [word = "", name = ""] = owner.split("/");
  const kind = WORKLOAD_KINDS.find(({ kind: known }) => known.toLowerCase() === word)?.kind ?? word;
  return { kind, name, namespace, pod: podFromTemplate(value, kind, name) };
}

function platformOf(objects: readonly unknown[]): Surroundings["platform"] | null {
  const found = objects.find((object) => isKind(object, "ConfigMap") && nameOf(object) === PLATFORM_CONFIG_MAP);
  if (found === undefined) return null;
  const platform = readPlatform(found);
  if ("mistakes" in platform) throw new ConfigError("invalid_value", platform.mistakes);
  return platform;
}

/** The items of Lists stand for themselves. */
function flatten(value: unknown): readonly unknown[] {
  const items = (value as { readonly items?: unknown } | null)?.items;
  return Array.isArray(items) ? items : [value];
}

function isKind(object: unknown, kind: string): boolean {
  return (object as { readonly kind?: unknown } | null)?.kind === kind;
}

function nameOf(object: unknown): string {
  const name = (object as { readonly metadata?: { readonly name?: unknown } | null } | null)?.metadata?.name;
  return typeof name === "string" ? name : "";
}

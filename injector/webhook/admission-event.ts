// What of an answer about a pod is worth an Event, and at which object it stands. Pure.
import type { Admission } from "./admit.ts";
import type { AdmissionRequest } from "./envelope.ts";
import type { ObjectReference, WorkloadEvent } from "./events.ts";

/** What was asked for and is as it was asked: nothing to tell. */
const PLAIN_SKIPS: ReadonlySet<string> = new Set([
  "pod_disabled",
  "namespace_disabled",
  "namespace_not_enabled",
  "already_injected",
  "system_namespace",
  "mirror_pod",
  "not_a_pod",
  "not_created",
]);
const ACTION = "Injecting";

/** The Events of one answer; none for what nobody has to hear of. */
export function eventsOf({ namespace, object, name }: AdmissionRequest, { result, reason, answer }: Admission): readonly WorkloadEvent[] {
  if (result === "skipped" && PLAIN_SKIPS.has(reason)) return [];
  const regarding = workloadOf(object, namespace, name);
  if (regarding === null) return [];
  const about = { regarding, action: ACTION };
  if (result === "refused") return [{ ...about, type: "Warning", reason: "InjectionRefused", note: answer.message }];
  if (result === "skipped")
    return [{ ...about, type: "Warning", reason: "InjectionSkipped", note: `no sidecar (${reason}): ${answer.message}` }];
  const injected: WorkloadEvent = { ...about, type: "Normal", reason: "Injected", note: `sidecar added (${reason}): ${answer.message}` };
  if (answer.warnings.length === 0) return [injected];
  return [injected, { ...about, type: "Warning", reason: "InjectionWarning", note: answer.warnings.join("; ") }];
}

/** The pod's controller as the pod names it; of a pod that nobody controls, itself. Null when it has not even a name. */
function workloadOf(object: unknown, namespace: string, name: string): ObjectReference | null {
  const metadata = fields(fields(object)["metadata"]);
  const references = Array.isArray(metadata["ownerReferences"]) ? (metadata["ownerReferences"] as readonly unknown[]) : [];
  const controller = references.map(fields).find((reference) => reference["controller"] === true);
  if (controller !== undefined) {
    const { apiVersion, kind, uid, name: of } = controller;
    if ([apiVersion, kind, uid, of].some((value) => typeof value !== "string")) return null;
    return { apiVersion: String(apiVersion), kind: String(kind), namespace, name: String(of), uid: String(uid) };
  }
  const prefix = typeof metadata["generateName"] === "string" ? metadata["generateName"].replace(/[-.]+$/, "") : "";
  const own = name !== "" ? name : typeof metadata["name"] === "string" && metadata["name"] !== "" ? metadata["name"] : prefix;
  return own === "" ? null : { apiVersion: "v1", kind: "Pod", namespace, name: own };
}

function fields(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Readonly<Record<string, unknown>>) : {};
}

// What rollouts and the watchdog keep of a pod: a few words of an object of several kilobytes. Pure and total, as the watches demand.
import { AdmissionError } from "../../core/errors.ts";
import { ANNOTATION_PREFIX, INJECTED_ANNOTATION } from "../annotations/annotations.ts";
import type { WorkloadOwner } from "../platform/channels.ts";
import { parseMarker } from "../patch/marker.ts";
import { ownerOf } from "../pod/owner.ts";
import { type Pod, parsePod } from "../pod/pod.ts";

/** One pod. */
export interface PodFacts {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly owner: WorkloadOwner;
  /** Version of its sidecar, as the injector marked it; null without one. */
  readonly version: string | null;
  /** Channel that its annotation asks for; null for none. */
  readonly askedChannel: string | null;
  /** Its annotation names the sidecar's image. */
  readonly hasOwnImage: boolean;
  /** Epoch ms. */
  readonly createdAtMs: number;
  readonly isScheduled: boolean;
  /** It has ended, or was told to. */
  readonly isOver: boolean;
}

/** Reads a pod as the API server lists it; null for what is no pod. */
export function readPodFacts(object: unknown): PodFacts | null {
  const pod = readPod(object);
  const metadata = fields(fields(object)["metadata"]);
  const [uid, namespace, name] = [metadata["uid"], metadata["namespace"], metadata["name"]];
  if (pod === null || typeof uid !== "string" || typeof namespace !== "string" || typeof name !== "string") return null;
  const annotations = pod.metadata?.annotations ?? {};
  const marker = parseMarker(annotations[INJECTED_ANNOTATION] ?? "");
  const { phase } = fields(fields(object)["status"]);
  const created = instantOf(metadata["creationTimestamp"]);
  return {
    uid,
    namespace,
    name,
    owner: ownerOf(pod, namespace),
    version: marker?.version ?? null,
    askedChannel: annotations[`${ANNOTATION_PREFIX}channel`] ?? null,
    hasOwnImage: annotations[`${ANNOTATION_PREFIX}image`] !== undefined,
    createdAtMs: created,
    isScheduled: typeof pod.spec["nodeName"] === "string" && pod.spec["nodeName"] !== "",
    isOver: metadata["deletionTimestamp"] !== undefined || phase === "Succeeded" || phase === "Failed",
  };
}

function readPod(object: unknown): Pod | null {
  try {
    return parsePod(object);
  } catch (error) {
    if (error instanceof AdmissionError) return null;
    throw error;
  }
}

/** The API gives texts, the client library Dates. */
function instantOf(value: unknown): number {
  if (value instanceof Date) return value.getTime();
  const parsed = typeof value === "string" ? Date.parse(value) : Number.NaN;
  return Number.isNaN(parsed) ? 0 : parsed;
}

function fields(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}

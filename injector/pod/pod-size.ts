// Two bounds that an injection can push a pod over, because what undoing and redirecting need is written down in the pod itself: what Kubernetes stores
// as annotations, and what Linux hands to a new process as one variable. Either would fail later and far less clearly.
import type { EnvVar } from "../patch/env.ts";
import { allContainers, type Pod } from "./pod.ts";
import { SIDECAR_CONTAINER } from "./names.ts";

/** All keys and values together (apimachinery, TotalAnnotationSizeLimitB). */
const MAX_ANNOTATION_BYTES = 256 * 1024;
/** MAX_ARG_STRLEN of Linux with pages of 4 KiB, less its closing zero. */
const MAX_VARIABLE_BYTES = 128 * 1024 - 1;

/** Why the pod cannot be, in a sentence without a full stop; null when it can. */
export function sizeProblem(pod: Pod): string | null {
  const annotationBytes = Object.entries(pod.metadata?.annotations ?? {}).reduce((sum, [key, text]) => sum + bytes(key) + bytes(text), 0);
  if (annotationBytes > MAX_ANNOTATION_BYTES) {
    return `its annotations would have ${annotationBytes} bytes with what undoing the injection needs, and Kubernetes stores ${MAX_ANNOTATION_BYTES}`;
  }
  const sidecar = allContainers(pod).find(({ name }) => name === SIDECAR_CONTAINER);
  for (const variable of (sidecar?.["env"] ?? []) as readonly EnvVar[]) {
    if (!("value" in variable)) continue;
    const length = bytes(variable.name) + 1 + bytes(variable.value);
    if (length > MAX_VARIABLE_BYTES)
      return `${variable.name} of the sidecar would have ${length} bytes, and a process starts with ${MAX_VARIABLE_BYTES} at most; use fewer probes`;
  }
  return null;
}

function bytes(text: string): number {
  return Buffer.byteLength(text, "utf8");
}

// Which Pod Security Standard a namespace enforces. Redirecting traffic takes NET_ADMIN and NET_RAW for a moment, which `baseline` and `restricted` both
// forbid; the sidecar itself meets `restricted`. https://kubernetes.io/docs/concepts/security/pod-security-admission/
import type { NamespaceFacts } from "../surroundings.ts";

const LABEL = "pod-security.kubernetes.io/enforce";

/** A level of the Pod Security Standards. */
export type PodSecurityLevel = "privileged" | "baseline" | "restricted";

/** What the namespace enforces. Fails closed: a word that is no level counts as the strictest, as it does for the API server. */
export function podSecurityLevel({ labels }: NamespaceFacts): PodSecurityLevel {
  const level = Object.hasOwn(labels, LABEL) ? labels[LABEL] : undefined;
  if (level === undefined || level === "privileged") return "privileged";
  return level === "baseline" ? level : "restricted";
}

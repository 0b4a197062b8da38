// Whether a pod can only run on Windows, where there is no iptables and no Remora: by what it declares, and by where it lets itself be scheduled.
import { fieldsOf, itemsOf } from "../pod/loose-fields.ts";
import type { Pod } from "../pod/pod.ts";

const OS_LABELS: readonly string[] = ["kubernetes.io/os", "beta.kubernetes.io/os"];
const WINDOWS = "windows";

/** True for a pod that is for Windows. */
export function isWindows(pod: Pod): boolean {
  const { os, nodeSelector } = pod.spec;
  if (os?.name !== undefined) return os.name === WINDOWS;
  return OS_LABELS.some((label) => nodeSelector?.[label] === WINDOWS) || isHostProcess(pod) || demandsWindows(pod);
}

function isHostProcess(pod: Pod): boolean {
  return fieldsOf(pod.spec.securityContext?.["windowsOptions"])["hostProcess"] === true;
}

/** Node selector terms are alternatives: only where each demands Windows there is no other way. */
function demandsWindows(pod: Pod): boolean {
  const required = fieldsOf(fieldsOf(fieldsOf(pod.spec["affinity"])["nodeAffinity"])["requiredDuringSchedulingIgnoredDuringExecution"]);
  const terms = itemsOf(required["nodeSelectorTerms"]);
  return terms.length > 0 && terms.every((term) => itemsOf(fieldsOf(term)["matchExpressions"]).some(isWindowsOnly));
}

function isWindowsOnly(expression: unknown): boolean {
  const { key, operator, values } = fieldsOf(expression);
  const names = itemsOf(values);
  return OS_LABELS.includes(String(key)) && operator === "In" && names.length > 0 && names.every((name) => name === WINDOWS);
}

// One admission request to one answer: which requests concern us, the decision about the pod, and how it is said. Pure.
import type { AdmissionAnswer, AdmissionRequest } from "./envelope.ts";
import { injectPod } from "../inject.ts";
import { explainReason, type InjectionReason } from "../decide/reasons.ts";
import type { SwitchLabel } from "../decide/report.ts";
import type { InjectorSettings } from "../settings.ts";
import type { Surroundings } from "../surroundings.ts";

/**
 * Which labels the API server saw before it asked; each has a webhook and a path of its own. `by_namespace`: the namespace is enabled. `by_pod`: only the
 * pod is. `unclear_pod`, `unclear_namespace`: only a label that is neither of the two words; such a pod is never injected, and told so.
 */
export type Selected = "by_namespace" | "by_pod" | "unclear_pod" | "unclear_namespace";

/** What the namespace's label must have been. Its selectors are the API server's, which knows the namespace better than our view of it. */
const NAMESPACE_LABEL: Readonly<Record<Selected, SwitchLabel>> = {
  by_namespace: "enabled",
  by_pod: "absent",
  unclear_pod: "absent",
  unclear_namespace: "unknown",
};

/** The answer, and the two words under which it is counted. */
export interface Admission {
  readonly answer: AdmissionAnswer;
  readonly result: "injected" | "skipped" | "refused";
  readonly reason: InjectionReason;
}

/** Answers `request`. `surroundings` are those of the request's namespace. */
export function admit(request: AdmissionRequest, selected: Selected, surroundings: Surroundings, settings: InjectorSettings): Admission {
  const { group, resource } = request.resource;
  if (group !== "" || resource !== "pods") return passed("not_a_pod");
  if (request.subResource !== "") return passed("subresource");
  if (request.operation !== "CREATE") return passed("not_created");
  const label = NAMESPACE_LABEL[selected];
  const { decision, patch, warnings } = injectPod(request.object, surroundings, { kind: "namespace", label }, settings);
  const { reason, message } = decision;
  switch (decision.action) {
    case "inject": {
      const audit = { decision: "injected", reason, version: settings.version };
      return { result: "injected", reason, answer: { allowed: true, patch, message, warnings: warnings.map(ours), audit } };
    }
    case "skip":
      return passed(reason, warnings);
    case "refuse": {
      const refusal = `remora refuses the pod (${reason}): ${message}`;
      return {
        result: "refused",
        reason,
        answer: { allowed: false, patch, message: refusal, warnings: warnings.map(ours), audit: { decision: "refused", reason } },
      };
    }
  }
}

function passed(reason: InjectionReason, warnings: readonly string[] = []): Admission {
  const answer = {
    allowed: true,
    patch: [],
    message: explainReason(reason),
    warnings: warnings.map(ours),
    // When other webhooks changed the pod we are asked again: what was said of it the first time stands, and the API server logs every try to say more.
    audit: reason === "already_injected" ? {} : { decision: "skipped", reason },
  };
  return { result: "skipped", reason, answer };
}

/** kubectl prints warnings without saying who gave them. */
function ours(warning: string): string {
  return `remora: ${warning}`;
}

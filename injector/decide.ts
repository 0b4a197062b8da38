// The decision about one pod: inject, leave alone, or refuse. Pure and total; the order of the checks is part of its contract, because it decides
// which reason is given when several hold.
import type { AnnotationValues } from "./annotations.ts";
import { explainReason, type InjectionReason, type InjectReason, type RefuseReason, type SkipReason } from "./reasons.ts";
import type { PodReport, SwitchLabel } from "./report.ts";
import type { InjectorSettings } from "./settings.ts";

/** Who asks for the sidecar when the pod itself says nothing: the namespace's label, or the command line. */
export type Asker = { readonly kind: "namespace"; readonly label: SwitchLabel } | { readonly kind: "command" };

/** What is to be done. `message` is a sentence for people. */
export type Decision =
  | { readonly action: "inject"; readonly reason: InjectReason; readonly message: string; readonly values: AnnotationValues }
  | { readonly action: "skip"; readonly reason: SkipReason; readonly message: string }
  | { readonly action: "refuse"; readonly reason: RefuseReason; readonly message: string };

/** Judges the facts. */
export function decide(report: PodReport, asker: Asker, settings: InjectorSettings): Decision {
  const obstacle = nature(report);
  if (obstacle !== null) return skip(obstacle);
  const wish = wanted(report.podLabel, asker);
  if (wish.action === "skip") return wish;
  const obstruction = state(report);
  if (obstruction !== null) return obstruction;
  const refusal = fault(report, settings);
  if (refusal !== null) return refusal;
  return { ...wish, values: report.annotations.values };
}

/** What no label can change: these come first so that a labelled system namespace says why nothing happens. */
function nature(report: PodReport): SkipReason | null {
  if (report.mirrorPod) return "mirror_pod";
  if (report.systemNamespace) return "system_namespace";
  return null;
}

/** What the labels say. The pod's own label beats everything; a value that is neither word never injects. */
function wanted(podLabel: SwitchLabel, asker: Asker): Wish {
  switch (podLabel) {
    case "enabled":
      return { action: "inject", reason: "pod_enabled", message: explainReason("pod_enabled") };
    case "disabled":
      return skip("pod_disabled");
    case "unknown":
      return skip("pod_label_unknown");
    case "absent":
      return asker.kind === "command"
        ? { action: "inject", reason: "asked", message: explainReason("asked") }
        : wantedByNamespace(asker.label);
  }
}

function wantedByNamespace(label: SwitchLabel): Wish {
  switch (label) {
    case "enabled":
      return { action: "inject", reason: "namespace_enabled", message: explainReason("namespace_enabled") };
    case "disabled":
      return skip("namespace_disabled");
    case "unknown":
      return skip("namespace_label_unknown");
    case "absent":
      return skip("namespace_not_enabled");
  }
}

/** What the pod already is, so that a sidecar would do nothing or harm. */
function state(report: PodReport): Skip | null {
  if (report.injected) return skip("already_injected");
  if (report.hostNetwork) return skip("host_network");
  if (report.windows) return skip("windows");
  if (report.otherMesh !== null) return skip("other_mesh", report.otherMesh);
  return null;
}

/** What the owner of the pod has to change. */
function fault(report: PodReport, settings: InjectorSettings): Refusal | null {
  const { mistakes } = report.annotations;
  if (mistakes.length > 0) return { action: "refuse", reason: "invalid_annotation", message: mistakes.join("; ") };
  if (report.runsAsProxy.length > 0) {
    return refuse("runs_as_proxy_uid", `user id ${settings.proxyUid} in ${report.runsAsProxy.join(", ")}; choose another runAsUser`);
  }
  if (report.takenNames.length > 0) return refuse("name_conflict", `${report.takenNames.join(", ")}; rename it`);
  if (report.takenPorts.length > 0) return refuse("port_conflict", `${report.takenPorts.join(", ")}; move the app to another port`);
  return null;
}

type Skip = Extract<Decision, { action: "skip" }>;
type Refusal = Extract<Decision, { action: "refuse" }>;
type Wish = Skip | Omit<Extract<Decision, { action: "inject" }>, "values">;

function skip(reason: SkipReason, detail?: string): Skip {
  return { action: "skip", reason, message: withDetail(reason, detail) };
}

function refuse(reason: RefuseReason, detail: string): Refusal {
  return { action: "refuse", reason, message: withDetail(reason, detail) };
}

function withDetail(reason: InjectionReason, detail: string | undefined): string {
  const sentence = explainReason(reason);
  return detail === undefined ? sentence : `${sentence.slice(0, -1)}: ${detail}`;
}

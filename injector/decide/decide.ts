// The decision about one pod: inject, leave alone, or refuse. Pure and total; the order of the checks is part of its contract, because it decides
// which reason is given when several hold.
import type { AnnotationValues } from "../annotations/annotations.ts";
import type { WorkloadOwner } from "../platform/channels.ts";
import { explainReason, type InjectionReason, type InjectReason, type RefuseReason, type SkipReason } from "./reasons.ts";
import type { PodReport, SwitchLabel } from "./report.ts";
import type { InjectorSettings } from "../settings.ts";

/**
 * Who asks for the sidecar when the pod itself says nothing: the namespace's label, or the command line. `owner` is given where it is known better than the
 * pod says, as for the template in a Deployment.
 */
export type Asker =
  | { readonly kind: "namespace"; readonly label: SwitchLabel; readonly owner?: WorkloadOwner }
  | { readonly kind: "command"; readonly owner?: WorkloadOwner };

/** What is to be done. `message` is a sentence for people. */
export type Decision =
  | { readonly action: "inject"; readonly reason: InjectReason; readonly message: string; readonly values: AnnotationValues }
  | { readonly action: "skip"; readonly reason: SkipReason; readonly message: string }
  | Refusal;

/** A pod that cannot be admitted as it is. */
export interface Refusal {
  readonly action: "refuse";
  readonly reason: RefuseReason;
  readonly message: string;
}

/** Judges the facts. */
export function decide(report: PodReport, asker: Asker, settings: InjectorSettings): Decision {
  const obstacle = nature(report);
  if (obstacle !== null) return skip(obstacle);
  const wish = wanted(report, asker);
  if (wish.action !== "inject") return wish;
  const obstruction = state(report, asker);
  if (obstruction !== null) return obstruction;
  const refusal = fault(report, settings);
  if (refusal !== null) return refusal;
  return { ...wish, values: report.annotations.values };
}

/** What no label can change: these come first so that a labelled system namespace says why nothing happens. */
function nature(report: PodReport): SkipReason | null {
  if (report.mirrorPod) return "mirror_pod";
  if (report.staticPod) return "static_pod";
  if (report.systemNamespace) return "system_namespace";
  return null;
}

/** What the labels say. The pod's own label beats everything; a value that is neither word never injects. */
function wanted(report: PodReport, asker: Asker): Wish {
  switch (report.podLabel) {
    case "enabled":
      return { action: "inject", reason: "pod_enabled", message: explainReason("pod_enabled") };
    case "disabled":
      return optOut(report, asker) ?? skip("pod_disabled");
    case "unknown":
      return optOut(report, asker) ?? skip("pod_label_unknown");
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

/** Fails closed: where the namespace is in the mesh and the platform lets nobody leave, a pod that would go without a sidecar is refused. */
function optOut(report: PodReport, asker: Asker): Refusal | null {
  if (report.mayOptOut || !isNamespaceEnabled(report, asker)) return null;
  return refuse(
    "opt_out_forbidden",
    `the pod's label remora.io/inject is ${report.podLabel === "disabled" ? "disabled" : "neither enabled nor disabled"}`,
  );
}

/** The API server knows the namespace better than our view of it; the command line knows only what it was given. */
function isNamespaceEnabled(report: PodReport, asker: Asker): boolean {
  return (asker.kind === "namespace" ? asker.label : report.namespaceLabel) === "enabled";
}

/** What the pod already is, so that a sidecar would do nothing or harm. */
function state(report: PodReport, asker: Asker): Skip | Refusal | null {
  const { ownSidecar } = report;
  if (ownSidecar !== null) {
    // Fails closed: a container that only looks like a sidecar must not be a way out of the mesh.
    if (!ownSidecar.isGenuine && !report.mayOptOut && isNamespaceEnabled(report, asker)) {
      return refuse(
        "opt_out_forbidden",
        `the container ${ownSidecar.container} looks like a Remora sidecar but is not one that the injector made`,
      );
    }
    return skip("already_injected", `container ${ownSidecar.container}, by its ${ownSidecar.by}`);
  }
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
  if (report.takenMounts.length > 0) return refuse("mount_conflict", `${report.takenMounts.join(", ")}; mount it elsewhere`);
  if (report.takenPorts.length > 0) return refuse("port_conflict", `${report.takenPorts.join(", ")}; move the app to another port`);
  return null;
}

type Skip = Extract<Decision, { action: "skip" }>;
type Wish = Skip | Refusal | Omit<Extract<Decision, { action: "inject" }>, "values">;

function skip(reason: SkipReason, detail?: string): Skip {
  return { action: "skip", reason, message: withDetail(reason, detail) };
}

/** The refusal for a reason; `detail` says what it is about and what to do, without a full stop. */
export function refuse(reason: RefuseReason, detail: string): Refusal {
  return { action: "refuse", reason, message: withDetail(reason, detail) };
}

function withDetail(reason: InjectionReason, detail: string | undefined): string {
  const sentence = explainReason(reason);
  return detail === undefined ? sentence : `${sentence.slice(0, -1)}: ${detail}`;
}

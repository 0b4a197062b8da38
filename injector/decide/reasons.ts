// Why a pod is injected, left alone or refused: one stable code each, with the one sentence that explains it. The same codes appear in the
// admission message, the log, `remora_injections_total{reason}` and on the command line.

/** The pod gets a sidecar. */
export const INJECT_REASONS = {
  namespace_enabled: "The namespace is labelled remora.io/inject=enabled.",
  pod_enabled: "The pod is labelled remora.io/inject=enabled.",
  asked: "The command line asked for it and the pod does not say otherwise.",
} as const;

/** The pod is left exactly as it is. */
export const SKIP_REASONS = {
  pod_disabled: "The pod is labelled remora.io/inject=disabled.",
  pod_label_unknown: "The pod's label remora.io/inject is neither enabled nor disabled, so nothing is assumed.",
  namespace_disabled: "The namespace is labelled remora.io/inject=disabled.",
  namespace_label_unknown: "The namespace's label remora.io/inject is neither enabled nor disabled, so nothing is assumed.",
  namespace_not_enabled: "Neither the namespace nor the pod is labelled remora.io/inject=enabled.",
  system_namespace: "The namespace belongs to Kubernetes or to Remora itself and is never injected.",
  mirror_pod: "The pod is the mirror of a static pod; the kubelet does not run what the API server stores of it.",
  static_pod: "The pod comes from a file or an address that the kubelet reads; it does not run what the API server stores of it.",
  already_injected: "The pod already carries a Remora sidecar.",
  host_network: "The pod uses the node's network, where redirecting its traffic would redirect the node's.",
  windows: "The pod runs on Windows, which Remora does not support.",
  other_mesh: "The pod already carries the sidecar of another mesh.",
  not_a_pod: "The object is not a pod.",
  subresource: "The request is about a part of a pod that exists already.",
  not_created: "The pod is not being created.",
} as const;

/** The pod cannot be admitted as it is. */
export const REFUSE_REASONS = {
  malformed_pod: "The object does not have the shape of a pod.",
  invalid_annotation: "A remora.io annotation has a value that is not allowed.",
  runs_as_proxy_uid: "A container runs as the sidecar's own user, so its traffic would escape the sidecar.",
  opt_out_forbidden: "The platform does not let the workloads of this namespace opt out.",
  name_conflict: "A container, volume or port already has a name that Remora needs.",
  mount_conflict: "A container already mounts a volume or uses a path that Remora needs.",
  port_conflict: "A container already uses a port that Remora needs.",
  pod_security: "The namespace's Pod Security level forbids what redirecting traffic takes.",
  resource_bounds: "The bounds on resources leave no room for the sidecar.",
  legacy_conflict: "The pod has sidecars of its own that only work next to a native one of Remora.",
  too_large: "The pod would grow beyond what Kubernetes stores or starts.",
  not_ready: "The injector does not know yet what a new sidecar may trust.",
} as const;

/** Why a pod is injected. */
export type InjectReason = keyof typeof INJECT_REASONS;
/** Why a pod is left alone. */
export type SkipReason = keyof typeof SKIP_REASONS;
/** Why a pod is refused. */
export type RefuseReason = keyof typeof REFUSE_REASONS;
/** Any of them. */
export type InjectionReason = InjectReason | SkipReason | RefuseReason;

const ALL_REASONS: Readonly<Record<InjectionReason, string>> = { ...INJECT_REASONS, ...SKIP_REASONS, ...REFUSE_REASONS };

/** The sentence for a code. */
export function explainReason(reason: InjectionReason): string {
  return ALL_REASONS[reason];
}

// The environment of our two containers (names as the sidecar's and `remora init`'s settings tables declare them). Values that a pod only knows
// once it runs come through fieldRef; what a user wrote is escaped, because the kubelet expands $(NAME) in values.
import type { AnnotationValues } from "../annotations/annotations.ts";
import type { RedirectedAsks } from "./kubelet-asks.ts";
import { STATE_DIR, TOKEN_DIR } from "../pod/names.ts";
import type { SidecarPlan } from "./plan.ts";
import type { Pod } from "../pod/pod.ts";
import { derivePorts } from "../pod/ports.ts";
import type { InjectorSettings } from "../settings.ts";

/** One variable of a container. */
export type EnvVar =
  | { readonly name: string; readonly value: string }
  | { readonly name: string; readonly valueFrom: { readonly fieldRef: { readonly fieldPath: string } } };

const TOKEN_FILE = `${TOKEN_DIR}/token`;

const DEFAULT_GRACE_S = 30;
const MAX_DRAIN_S = 30;
/** Left between the end of draining and the kubelet's SIGKILL. */
const DRAIN_MARGIN_S = 5;

/** Environment of the sidecar. Settings that neither annotation nor installation gives are left to the sidecar's defaults. */
export function sidecarEnv(
  pod: Pod,
  { values, capture, channel }: SidecarPlan,
  { appProbes, appHooks }: RedirectedAsks,
  settings: InjectorSettings,
): readonly EnvVar[] {
  const env: EnvVar[] = [
    field("REMORA_INSTANCE_ID", "metadata.uid"),
    field("REMORA_POD_NAME", "metadata.name"),
    field("REMORA_NAMESPACE", "metadata.namespace"),
    field("REMORA_SERVICE_ACCOUNT", "spec.serviceAccountName"),
    field("REMORA_POD_IPS", "status.podIPs"),
  ];
  add(env, "REMORA_CAPTURE", capture);
  // Peers and the kubelet come over the pod's address; explicit capture alone would mean loopback. The outbound port still serves only the pod.
  add(env, "REMORA_BIND_ADDRESS", capture === "explicit" ? "::" : null);
  add(env, "REMORA_MODE", values.mode ?? settings.mode);
  add(env, "REMORA_TRUST_DOMAIN", settings.trustDomain);
  add(env, "REMORA_CONTROL_ADDRESS", settings.controlAddress);
  add(env, "REMORA_CONTROL_NAMESPACE", settings.controlNamespace);
  add(env, "REMORA_TRUST_PIN", settings.trustPins.join(","));
  add(env, "REMORA_TOKEN_FILE", TOKEN_FILE);
  add(env, "REMORA_STATE_DIR", STATE_DIR);
  add(env, "REMORA_OUTBOUND_PORT", settings.outboundPort);
  add(env, "REMORA_INBOUND_PORT", settings.inboundPort);
  add(env, "REMORA_ADMIN_PORT", settings.adminPort);
  add(env, "REMORA_PORTS", derivePorts(pod, values));
  add(env, "REMORA_OPAQUE_PORTS", values["opaque-ports"]?.join(","));
  add(env, "REMORA_EGRESS", values.egress);
  add(env, "REMORA_ALLOW", values.allow);
  add(env, "REMORA_RATE_LIMIT", values["rate-limit"]);
  add(env, "REMORA_MAX_INFLIGHT", values["max-inflight"]);
  add(env, "REMORA_ROUTES", values.routes);
  add(env, "REMORA_REQUEST_TIMEOUT", values["request-timeout"]);
  add(env, "REMORA_ANSWER_TIMEOUT", values["answer-timeout"]);
  add(env, "REMORA_STREAM_IDLE_TIMEOUT", values["stream-idle-timeout"]);
  add(env, "REMORA_RETRY_BUDGET", values["retry-budget"]);
  add(env, "REMORA_BREAKER_FAILURES", values["breaker-failures"]);
  add(env, "REMORA_BREAKER_MIN_BACKOFF", values["breaker-min-backoff"]);
  add(env, "REMORA_BREAKER_MAX_BACKOFF", values["breaker-max-backoff"]);
  add(env, "REMORA_ENGINE", values.engine);
  add(env, "REMORA_WORKERS", values.workers);
  add(env, "REMORA_SIGNING", values.signing);
  add(env, "REMORA_VERIFY", values.verify);
  add(env, "REMORA_CHANNEL", channel);
  add(env, "REMORA_LOG_LEVEL", values["log-level"]);
  add(env, "REMORA_ACCESS_LOG", values["access-log"]);
  add(env, "REMORA_DRAIN_TIMEOUT", values["drain-timeout"] ?? `${usualDrainSeconds(pod)}s`);
  add(env, "REMORA_PROBES", Object.keys(appProbes).length === 0 ? null : JSON.stringify(appProbes));
  add(env, "REMORA_HOOKS", Object.keys(appHooks).length === 0 ? null : JSON.stringify(appHooks));
  return env;
}

/** Environment of `remora init`. */
export function initEnv(values: AnnotationValues, settings: InjectorSettings): readonly EnvVar[] {
  const env: EnvVar[] = [];
  add(env, "REMORA_OUTBOUND_PORT", settings.outboundPort);
  add(env, "REMORA_INBOUND_PORT", settings.inboundPort);
  add(env, "REMORA_ADMIN_PORT", settings.adminPort);
  add(env, "REMORA_PROXY_UID", settings.proxyUid);
  add(env, "REMORA_SKIP_INBOUND_PORTS", values["skip-inbound-ports"]?.join(","));
  add(env, "REMORA_SKIP_OUTBOUND_PORTS", values["skip-outbound-ports"]?.join(","));
  add(env, "REMORA_SKIP_OUTBOUND_CIDRS", values["skip-outbound-cidrs"]);
  return env;
}

/** Draining ends before the kubelet's patience does: the pod's grace period less a margin, 1 s to 30 s. */
function usualDrainSeconds(pod: Pod): number {
  return Math.max(1, Math.min(MAX_DRAIN_S, graceSeconds(pod) - DRAIN_MARGIN_S));
}

/** Time between the kubelet's first word and its SIGKILL, whole seconds. */
export function graceSeconds(pod: Pod): number {
  return Math.floor(pod.spec.terminationGracePeriodSeconds ?? DEFAULT_GRACE_S);
}

function field(name: string, fieldPath: string): EnvVar {
  return { name, valueFrom: { fieldRef: { fieldPath } } };
}

/** Adds a variable; nothing for a value that is not there. */
function add(env: EnvVar[], name: string, value: string | number | boolean | null | undefined): void {
  if (value === null || value === undefined || value === "") return;
  env.push({ name, value: escapeExpansion(String(value)) });
}

/** `$(X)` would be replaced and `$$` halved by the kubelet; a lone `$` is safe as it is. */
function escapeExpansion(text: string): string {
  return text.includes("$") && /\$[($]/.test(text) ? text.replaceAll("$", "$$$$") : text;
}

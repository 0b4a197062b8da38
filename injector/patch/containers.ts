// The two containers and two volumes that a pod gets. The sidecar meets the restricted Pod Security Standard; the init container cannot, because
// changing iptables takes root and two capabilities, so it has exactly those and lives for a moment.
import { graceSeconds, initEnv, sidecarEnv } from "./env.ts";
import type { RedirectedAsks } from "./kubelet-asks.ts";
import { ADMIN_PORT_NAME, INIT_CONTAINER, SIDECAR_CONTAINER, STATE_DIR, STATE_VOLUME, TOKEN_DIR, TOKEN_VOLUME } from "../pod/names.ts";
import type { PlannedResources, SidecarPlan } from "./plan.ts";
import type { Container, Pod, Volume } from "../pod/pod.ts";
import type { InjectorSettings } from "../settings.ts";

/** The audience that a pod's token is good for; the control plane accepts no other. */
export const TOKEN_AUDIENCE = "remora.io";
const TOKEN_LIFE_S = 3600;

/** The command in the image. */
const REMORA = "remora";
/** How long a legacy pod's other containers wait for the sidecar. */
const WAIT = "60s";
const WAIT_S = 60;
/** Left of the grace period for the drain when the app takes all of it. */
const END_MARGIN_S = 3;

const STARTUP_PERIOD_S = 1;
const STARTUP_FAILURES = 120;
const READINESS_PERIOD_S = 5;
const LIVENESS_PERIOD_S = 10;
const FAILURES = 3;

/** Runs `remora init`. */
export function initContainer(plan: SidecarPlan, resources: PlannedResources, settings: InjectorSettings): Container {
  return {
    name: INIT_CONTAINER,
    ...imageOf(plan, settings),
    command: [REMORA, "init"],
    env: initEnv(plan.values, settings),
    resources,
    securityContext: {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ["ALL"], add: ["NET_ADMIN", "NET_RAW"] },
      privileged: false,
      readOnlyRootFilesystem: true,
      runAsGroup: 0,
      runAsNonRoot: false,
      runAsUser: 0,
      seccompProfile: { type: "RuntimeDefault" },
    },
    terminationMessagePolicy: "FallbackToLogsOnError",
  };
}

/** The sidecar: a native one is an init container that keeps running, a legacy one a plain container whose start the others wait for. */
export function sidecarContainer(pod: Pod, plan: SidecarPlan, asks: RedirectedAsks, settings: InjectorSettings): Container {
  const { adminPort } = settings;
  const native = plan.kind === "native";
  const ask = (path: string) => ({ httpGet: { path, port: adminPort, scheme: "HTTP" } });
  return {
    name: SIDECAR_CONTAINER,
    ...imageOf(plan, settings),
    ...(native ? { restartPolicy: "Always" } : {}),
    command: [REMORA, "sidecar"],
    env: sidecarEnv(pod, plan, asks, settings),
    ports: [{ name: ADMIN_PORT_NAME, containerPort: adminPort, protocol: "TCP" }],
    // The kubelet starts the next container only after this probe, or after postStart has returned.
    ...(native ? {} : { lifecycle: legacyLifecycle(pod) }),
    startupProbe: { ...ask("/ready"), periodSeconds: STARTUP_PERIOD_S, failureThreshold: STARTUP_FAILURES + (native ? 0 : WAIT_S) },
    livenessProbe: { ...ask("/live"), periodSeconds: LIVENESS_PERIOD_S, failureThreshold: FAILURES },
    readinessProbe: { ...ask("/ready"), periodSeconds: READINESS_PERIOD_S, failureThreshold: FAILURES },
    resources: plan.sidecarResources,
    securityContext: {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ["ALL"] },
      privileged: false,
      readOnlyRootFilesystem: true,
      runAsGroup: settings.proxyUid,
      runAsNonRoot: true,
      runAsUser: settings.proxyUid,
      seccompProfile: { type: "RuntimeDefault" },
    },
    terminationMessagePolicy: "FallbackToLogsOnError",
    volumeMounts: [
      { name: TOKEN_VOLUME, mountPath: TOKEN_DIR, readOnly: true },
      { name: STATE_VOLUME, mountPath: STATE_DIR },
    ],
  };
}

/** The projected token, and a folder in memory for snapshots and the trust bundle. */
export function volumes(settings: InjectorSettings): readonly Volume[] {
  const serviceAccountToken = { audience: TOKEN_AUDIENCE, expirationSeconds: TOKEN_LIFE_S, path: "token" };
  return [
    { name: TOKEN_VOLUME, projected: { sources: [{ serviceAccountToken }] } },
    { name: STATE_VOLUME, emptyDir: { medium: "Memory", sizeLimit: settings.stateSizeLimit } },
  ];
}

/**
 * A plain container starts and is told to stop together with the app: it has to be waited for at the start, and has to wait at the end, for the app's
 * last calls and answers. What is left of the grace period then is for its own drain.
 */
function legacyLifecycle(pod: Pod): NonNullable<Container["lifecycle"]> {
  const patienceS = Math.max(1, graceSeconds(pod) - END_MARGIN_S);
  return {
    postStart: { exec: { command: [REMORA, "wait", "--timeout", WAIT] } },
    preStop: { exec: { command: [REMORA, "wait", "--for-app-end", "--timeout", `${patienceS}s`] } },
  };
}

function imageOf(
  { image }: SidecarPlan,
  { imagePullPolicy }: InjectorSettings,
): { readonly image: string; readonly imagePullPolicy?: string } {
  return { image, ...(imagePullPolicy === null ? {} : { imagePullPolicy }) };
}

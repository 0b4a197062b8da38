// The two containers and two volumes that a pod gets. The sidecar meets the restricted Pod Security Standard; the init container cannot, because
// changing iptables takes root and two capabilities, so it has exactly those and lives for a moment.
import type { AnnotationValues } from "./annotations.ts";
import { initEnv, sidecarEnv, STATE_DIR, TOKEN_DIR } from "./env.ts";
import type { Container, Pod, Volume } from "./pod.ts";
import type { AppProbe } from "./probes.ts";
import { INIT_CONTAINER, SIDECAR_CONTAINER, STATE_VOLUME, TOKEN_VOLUME } from "./report.ts";
import type { InjectorSettings } from "./settings.ts";

/** The audience that a pod's token is good for; the control plane accepts no other. */
export const TOKEN_AUDIENCE = "remora.io";
const TOKEN_LIFE_S = 3600;

/** The command in the image. */
const REMORA = "remora";
/** How long a legacy pod's other containers wait for the sidecar. */
const WAIT = "60s";
const WAIT_S = 60;

const STARTUP_PERIOD_S = 1;
const STARTUP_FAILURES = 120;
const READINESS_PERIOD_S = 5;
const LIVENESS_PERIOD_S = 10;
const FAILURES = 3;

/** Runs `remora init` before everything else in the pod. */
export function initContainer(values: AnnotationValues, settings: InjectorSettings): Container {
  return {
    name: INIT_CONTAINER,
    ...imageOf(values, settings),
    command: [REMORA, "init"],
    env: initEnv(values, settings),
    resources: { requests: { cpu: "10m", memory: "32Mi" }, limits: { memory: "128Mi" } },
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

/** The sidecar. `native` makes it an init container that keeps running; otherwise it is a plain container whose start the others wait for. */
export function sidecarContainer(
  pod: Pod,
  values: AnnotationValues,
  appProbes: Readonly<Record<string, AppProbe>>,
  settings: InjectorSettings,
  native: boolean,
): Container {
  const { adminPort } = settings;
  const ask = (path: string) => ({ httpGet: { path, port: adminPort, scheme: "HTTP" } });
  return {
    name: SIDECAR_CONTAINER,
    ...imageOf(values, settings),
    ...(native ? { restartPolicy: "Always" } : {}),
    command: [REMORA, "sidecar"],
    env: sidecarEnv(pod, values, appProbes, settings),
    ports: [{ name: "remora-admin", containerPort: adminPort, protocol: "TCP" }],
    // The kubelet starts the next container only after this probe, or after postStart has returned.
    ...(native ? {} : { lifecycle: { postStart: { exec: { command: [REMORA, "wait", "--timeout", WAIT] } } } }),
    startupProbe: { ...ask("/ready"), periodSeconds: STARTUP_PERIOD_S, failureThreshold: STARTUP_FAILURES + (native ? 0 : WAIT_S) },
    livenessProbe: { ...ask("/live"), periodSeconds: LIVENESS_PERIOD_S, failureThreshold: FAILURES },
    readinessProbe: { ...ask("/ready"), periodSeconds: READINESS_PERIOD_S, failureThreshold: FAILURES },
    resources: resourcesOf(values, settings),
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

function imageOf(values: AnnotationValues, settings: InjectorSettings): { readonly image: string; readonly imagePullPolicy?: string } {
  const { imagePullPolicy } = settings;
  return { image: values.image ?? settings.image, ...(imagePullPolicy === null ? {} : { imagePullPolicy }) };
}

function resourcesOf(values: AnnotationValues, settings: InjectorSettings): object {
  const cpuLimit = values["cpu-limit"] ?? settings.cpuLimit;
  return {
    requests: { cpu: values["cpu-request"] ?? settings.cpuRequest, memory: values["memory-request"] ?? settings.memoryRequest },
    limits: { ...(cpuLimit === null ? {} : { cpu: cpuLimit }), memory: values["memory-limit"] ?? settings.memoryLimit },
  };
}

// What the platform team decides for every injected pod. The same object serves the webhook and `remora inject`, so both give the same pod.

/** Settings of the injector. Immutable; a change is a new object. */
export interface InjectorSettings {
  /** Version written into the pod's `remora.io/injected`. */
  readonly version: string;
  /** The sidecar's image; annotation `remora.io/image` beats it. */
  readonly image: string;
  /** `imagePullPolicy` of our containers; null leaves it to Kubernetes. */
  readonly imagePullPolicy: "Always" | "IfNotPresent" | "Never" | null;
  /** `host:port` of the control plane's gRPC, as pods reach it. */
  readonly controlAddress: string;
  /** Namespace of the control plane; never injected. */
  readonly controlNamespace: string;
  readonly trustDomain: string;
  /** Pins of the roots that a new sidecar may trust before it holds a trust bundle: `sha256:<hex of the DER>`. */
  readonly trustPins: readonly string[];
  /** Default of `remora.io/mode`; null leaves it to the sidecar. */
  readonly mode: "strict" | "permissive" | null;
  /** Default of `remora.io/capture`. */
  readonly capture: "transparent" | "explicit" | "auto";
  /** False: plain containers everywhere. True: native wherever the nodes can run them. `remora.io/native-sidecar` beats both. */
  readonly nativeSidecar: boolean;
  /** Channel written into the sidecar when the pod names none; null for none. */
  readonly channel: string | null;
  /** Always set, so that the pod's scheduling and any autoscaler know of the sidecar. */
  readonly cpuRequest: string;
  readonly cpuLimit: string | null;
  readonly memoryRequest: string;
  readonly memoryLimit: string;
  /** Upper bound of the in-memory folder with snapshots and trust bundle. */
  readonly stateSizeLimit: string;
  /** The sidecar's ports, 1..65535, all different. */
  readonly outboundPort: number;
  readonly inboundPort: number;
  readonly adminPort: number;
  /** User id of the sidecar; traffic of this user is not captured. */
  readonly proxyUid: number;
  /** Makes the paths of redirected hooks unguessable. Random in the webhook; empty on the command line, so that the same manifest gives the same pod. */
  readonly hookKey: string;
}

/** The settings of an installation that changed nothing. `version` also names the image. */
export function defaultInjectorSettings(version: string): InjectorSettings {
  return {
    version,
    image: `remora:${version}`,
    imagePullPolicy: null,
    controlAddress: "remora-control.remora-system.svc:15010",
    controlNamespace: "remora-system",
    trustDomain: "cluster.local",
    trustPins: [],
    mode: null,
    capture: "transparent",
    nativeSidecar: true,
    channel: null,
    cpuRequest: "50m",
    cpuLimit: null,
    memoryRequest: "64Mi",
    memoryLimit: "256Mi",
    stateSizeLimit: "16Mi",
    outboundPort: 15001,
    inboundPort: 15006,
    adminPort: 15020,
    proxyUid: 1337,
    hookKey: "",
  };
}

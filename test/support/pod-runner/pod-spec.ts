// The part of a Kubernetes Pod that the pod runner honours, and how a container's environment is worked out from it. A field that is not listed here
// is ignored; a value that cannot be honoured (an unknown fieldRef, a probe of an unknown kind) is an error, so that no test passes by accident.

export interface Pod {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly uid?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec: PodSpec;
}

export interface PodSpec {
  readonly serviceAccountName?: string;
  readonly initContainers?: readonly Container[];
  readonly containers: readonly Container[];
  readonly volumes?: readonly Volume[];
  readonly hostAliases?: ReadonlyArray<{ readonly ip: string; readonly hostnames?: readonly string[] }>;
  readonly restartPolicy?: "Always" | "OnFailure" | "Never";
  readonly terminationGracePeriodSeconds?: number;
  readonly securityContext?: SecurityContext;
}

export interface Container {
  readonly name: string;
  readonly image?: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly workingDir?: string;
  readonly env?: readonly EnvVar[];
  readonly ports?: ReadonlyArray<{ readonly name?: string; readonly containerPort: number; readonly protocol?: string }>;
  readonly volumeMounts?: ReadonlyArray<{
    readonly name: string;
    readonly mountPath: string;
    readonly subPath?: string;
    readonly readOnly?: boolean;
  }>;
  readonly resources?: { readonly limits?: Readonly<Record<string, string>>; readonly requests?: Readonly<Record<string, string>> };
  readonly securityContext?: SecurityContext;
  /** "Always" on an init container makes it a native sidecar (Kubernetes 1.29). */
  readonly restartPolicy?: string;
  readonly startupProbe?: Probe;
  readonly readinessProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly lifecycle?: { readonly postStart?: Handler; readonly preStop?: Handler };
}

export interface SecurityContext {
  readonly runAsUser?: number;
  readonly runAsGroup?: number;
  readonly runAsNonRoot?: boolean;
  readonly fsGroup?: number;
  readonly privileged?: boolean;
  readonly allowPrivilegeEscalation?: boolean;
  readonly readOnlyRootFilesystem?: boolean;
  readonly capabilities?: { readonly add?: readonly string[]; readonly drop?: readonly string[] };
}

export interface EnvVar {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: {
    readonly fieldRef?: { readonly fieldPath: string };
    readonly resourceFieldRef?: { readonly containerName?: string; readonly resource: string };
    readonly configMapKeyRef?: { readonly name: string; readonly key: string; readonly optional?: boolean };
    readonly secretKeyRef?: { readonly name: string; readonly key: string; readonly optional?: boolean };
  };
}

/** One action of a probe or a lifecycle hook. */
export interface Handler {
  readonly exec?: { readonly command: readonly string[] };
  readonly httpGet?: {
    readonly path?: string;
    readonly port: number | string;
    readonly scheme?: string;
    readonly host?: string;
    readonly httpHeaders?: ReadonlyArray<{ readonly name: string; readonly value: string }>;
  };
  readonly tcpSocket?: { readonly port: number | string; readonly host?: string };
  readonly sleep?: { readonly seconds: number };
  readonly grpc?: { readonly port: number; readonly service?: string };
}

export interface Probe extends Handler {
  readonly initialDelaySeconds?: number;
  readonly periodSeconds?: number;
  readonly timeoutSeconds?: number;
  readonly failureThreshold?: number;
  readonly successThreshold?: number;
}

export interface Volume {
  readonly name: string;
  readonly emptyDir?: { readonly medium?: string; readonly sizeLimit?: string };
  readonly projected?: { readonly sources: readonly ProjectedSource[]; readonly defaultMode?: number };
  readonly configMap?: { readonly name: string; readonly items?: readonly KeyToPath[] };
  readonly secret?: { readonly secretName: string; readonly items?: readonly KeyToPath[] };
  readonly downwardAPI?: { readonly items: ReadonlyArray<{ readonly path: string; readonly fieldRef?: { readonly fieldPath: string } }> };
}

export interface KeyToPath {
  readonly key: string;
  readonly path: string;
}

export interface ProjectedSource {
  readonly serviceAccountToken?: { readonly path: string; readonly audience?: string; readonly expirationSeconds?: number };
  readonly configMap?: { readonly name: string; readonly items?: readonly KeyToPath[]; readonly optional?: boolean };
  readonly downwardAPI?: { readonly items: ReadonlyArray<{ readonly path: string; readonly fieldRef?: { readonly fieldPath: string } }> };
}

/** What the cluster would know about a running pod. */
export interface PodFacts {
  readonly uid: string;
  readonly namespace: string;
  readonly nodeName: string;
  readonly hostIp: string;
  /** Primary address first. */
  readonly podIps: readonly string[];
}

/** Contents of ConfigMaps or Secrets, by `name` and then by key. */
export type Literals = Readonly<Record<string, Readonly<Record<string, string>>>>;

/** The value of a downward API path, as the kubelet would give it. @throws Error for a path that is not supported */
export function fieldValue(pod: Pod, facts: PodFacts, fieldPath: string): string {
  const keyed = /^metadata\.(labels|annotations)\['([^']+)'\]$/.exec(fieldPath);
  if (keyed !== null) return pod.metadata[keyed[1] as "labels" | "annotations"]?.[keyed[2] ?? ""] ?? "";
  switch (fieldPath) {
    case "metadata.name":
      return pod.metadata.name;
    case "metadata.namespace":
      return facts.namespace;
    case "metadata.uid":
      return facts.uid;
    case "metadata.labels":
    case "metadata.annotations":
      return formatKeyed(pod.metadata[fieldPath === "metadata.labels" ? "labels" : "annotations"] ?? {});
    case "spec.nodeName":
      return facts.nodeName;
    case "spec.serviceAccountName":
      return pod.spec.serviceAccountName ?? "default";
    case "status.hostIP":
    case "status.hostIPs":
      return facts.hostIp;
    case "status.podIP":
      return facts.podIps[0] ?? "";
    case "status.podIPs":
      return facts.podIps.join(",");
    default:
      throw new Error(`pod runner: fieldRef ${fieldPath} is not supported`);
  }
}

/** Environment of a container: its `env` in order, with `$(NAME)` of earlier entries expanded. */
export function containerEnv(
  pod: Pod,
  container: Container,
  facts: PodFacts,
  configMaps: Literals,
  secrets: Literals,
): Record<string, string> {
  const env: Record<string, string> = {};
  for (const entry of container.env ?? []) {
    const value = entryValue(pod, container, entry, facts, configMaps, secrets);
    if (value !== null) env[entry.name] = entry.valueFrom === undefined ? expand(value, env) : value;
  }
  return env;
}

/** Kubernetes' own substitution: `$(NAME)` of a known name, `$$(NAME)` for the literal text; anything else stays. */
export function expand(text: string, env: Readonly<Record<string, string>>): string {
  return text.replace(/\$(\$?)\(([A-Za-z_][A-Za-z0-9_.-]*)\)/g, (whole, dollar: string, name: string) =>
    dollar === "$" ? whole.slice(1) : (env[name] ?? whole),
  );
}

/** The number of a port that is given by number or by name. @throws Error when no container port has that name */
export function portNumber(container: Container, port: number | string): number {
  if (typeof port === "number") return port;
  const named = container.ports?.find((candidate) => candidate.name === port)?.containerPort;
  if (named === undefined) throw new Error(`pod runner: container ${container.name} has no port named ${port}`);
  return named;
}

function entryValue(
  pod: Pod,
  container: Container,
  entry: EnvVar,
  facts: PodFacts,
  configMaps: Literals,
  secrets: Literals,
): string | null {
  const from = entry.valueFrom;
  if (from === undefined) return entry.value ?? "";
  if (from.fieldRef !== undefined) return fieldValue(pod, facts, from.fieldRef.fieldPath);
  if (from.resourceFieldRef !== undefined) return resourceValue(pod, container, from.resourceFieldRef);
  const ref = from.configMapKeyRef ?? from.secretKeyRef;
  if (ref === undefined) throw new Error(`pod runner: env ${entry.name} has a valueFrom that is not supported`);
  const value = (from.configMapKeyRef === undefined ? secrets : configMaps)[ref.name]?.[ref.key];
  if (value === undefined && ref.optional !== true)
    throw new Error(`pod runner: env ${entry.name} names ${ref.name}/${ref.key}, which does not exist`);
  return value ?? null;
}

function resourceValue(pod: Pod, own: Container, ref: { readonly containerName?: string; readonly resource: string }): string {
  const all = [...pod.spec.containers, ...(pod.spec.initContainers ?? [])];
  const container = ref.containerName === undefined ? own : all.find((candidate) => candidate.name === ref.containerName);
  const [kind = "", resource = ""] = ref.resource.split(".");
  const text = container?.resources?.[kind as "limits" | "requests"]?.[resource];
  return text === undefined ? "0" : String(Math.ceil(quantity(text)));
}

/** A Kubernetes quantity as a number, e.g. `250m` → 0.25, `64Mi` → 67108864. */
export function quantity(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(m|k|M|G|Ki|Mi|Gi)?$/.exec(text);
  if (match === null) throw new Error(`pod runner: ${text} is not a quantity`);
  const scale = { m: 0.001, k: 1e3, M: 1e6, G: 1e9, Ki: 1024, Mi: 1024 ** 2, Gi: 1024 ** 3 }[match[2] ?? ""] ?? 1;
  return Number(match[1]) * scale;
}

function formatKeyed(values: Readonly<Record<string, string>>): string {
  return Object.entries(values)
    .map(([key, value]) => `${key}=${JSON.stringify(value)}`)
    .join("\n");
}

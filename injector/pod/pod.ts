// The part of a Pod that the injector reads or writes. It owns the check of the shape, so that everything behind it may trust the types;
// fields that are not named here travel through untouched. Kubernetes API reference, core/v1.
import { AdmissionError } from "../../core/errors.ts";

/** A port of a probe: a number, or the name of a port of the same container. */
export type PortReference = number | string;

/** How a probe or hook asks. Exactly one of the four is set. */
export interface ProbeHandler {
  readonly httpGet?: {
    readonly path?: string;
    readonly port: PortReference;
    readonly host?: string;
    readonly scheme?: string;
    readonly httpHeaders?: readonly { readonly name: string; readonly value: string }[];
  };
  readonly tcpSocket?: { readonly port: PortReference; readonly host?: string };
  readonly grpc?: { readonly port: number; readonly service?: string };
  readonly exec?: object;
}

/** A handler with its pace. */
export interface Probe extends ProbeHandler {
  readonly timeoutSeconds?: number;
  readonly [field: string]: unknown;
}

/** The fields of a container that hold a probe. */
export const PROBE_FIELDS = ["livenessProbe", "readinessProbe", "startupProbe"] as const;

/** One of {@link PROBE_FIELDS}. */
export type ProbeField = (typeof PROBE_FIELDS)[number];

/** The lifecycle hooks of a container. */
export const HOOKS = ["postStart", "preStop"] as const;

/** One of {@link HOOKS}. */
export type Hook = (typeof HOOKS)[number];

/** A declared port. `protocol` is TCP when absent. */
export interface ContainerPort {
  readonly containerPort: number;
  readonly hostPort?: number;
  readonly name?: string;
  readonly protocol?: string;
  readonly [field: string]: unknown;
}

/** A container, an init container, or (with `restartPolicy: Always` among the init containers) a native sidecar. */
export interface Container {
  readonly name: string;
  readonly image?: string;
  readonly restartPolicy?: string;
  readonly ports?: readonly ContainerPort[];
  readonly livenessProbe?: Probe;
  readonly readinessProbe?: Probe;
  readonly startupProbe?: Probe;
  readonly lifecycle?: { readonly postStart?: ProbeHandler; readonly preStop?: ProbeHandler; readonly [field: string]: unknown };
  readonly securityContext?: { readonly runAsUser?: number; readonly [field: string]: unknown };
  readonly [field: string]: unknown;
}

/** A volume; only its name matters here. */
export interface Volume {
  readonly name: string;
  readonly [field: string]: unknown;
}

/** What a Pod and a pod template have in common. */
export interface Pod {
  readonly metadata?: {
    readonly name?: string;
    readonly generateName?: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly [field: string]: unknown;
  };
  readonly spec: {
    readonly containers: readonly Container[];
    readonly initContainers?: readonly Container[];
    readonly volumes?: readonly Volume[];
    readonly hostNetwork?: boolean;
    readonly dnsPolicy?: string;
    readonly terminationGracePeriodSeconds?: number;
    readonly securityContext?: { readonly runAsUser?: number; readonly [field: string]: unknown };
    readonly nodeSelector?: Readonly<Record<string, string>>;
    readonly os?: { readonly name?: string };
    readonly [field: string]: unknown;
  };
  readonly [field: string]: unknown;
}

/**
 * Checks that `value` has the shape of {@link Pod}. Throws `AdmissionError("malformed_review")` naming the first field that is wrong.
 * It does not judge what the API server judges (lengths, names, ranges).
 */
export function parsePod(value: unknown): Pod {
  const pod = record(value, "the pod");
  const metadata = optionalRecord(pod["metadata"], "metadata");
  for (const field of ["labels", "annotations"]) texts(metadata?.[field], `metadata.${field}`);
  for (const field of ["name", "generateName"]) optionalText(metadata, field, "metadata");
  const spec = record(pod["spec"], "spec");
  const containers = list(spec["containers"], "spec.containers");
  if (containers.length === 0) throw malformed("spec.containers", "at least one container", "an empty list");
  checkEach(containers, "spec.containers", checkContainer);
  checkEach(spec["initContainers"], "spec.initContainers", checkContainer);
  checkEach(spec["volumes"], "spec.volumes", checkNamed);
  optionalRecord(spec["securityContext"], "spec.securityContext");
  optionalRecord(spec["os"], "spec.os");
  texts(spec["nodeSelector"], "spec.nodeSelector");
  return pod as unknown as Pod; // every field that the type promises was looked at above
}

/** Containers that run next to the app all its life: the plain ones and the native sidecars among the init containers. */
export function runningContainers(pod: Pod): readonly Container[] {
  return [...nativeSidecars(pod), ...pod.spec.containers];
}

/** Every container of the pod, init containers first. */
export function allContainers(pod: Pod): readonly Container[] {
  return [...(pod.spec.initContainers ?? []), ...pod.spec.containers];
}

/** A name to show to people; a pod made by a controller has only a prefix when it is admitted. */
export function podName(pod: Pod): string {
  return pod.metadata?.name ?? (pod.metadata?.generateName === undefined ? "(unnamed)" : `${pod.metadata.generateName}*`);
}

/** Kubernetes resolves a port's name within the container; digits in quotes are a number too. Null when that gives no port. */
export function resolvePort(container: Container, port: PortReference): number | null {
  const isNumber = typeof port === "number" || /^[0-9]{1,5}$/.test(port);
  const number = isNumber ? Number(port) : container.ports?.find((candidate) => candidate.name === port)?.containerPort;
  return number !== undefined && Number.isInteger(number) && number >= 1 && number <= 65535 ? number : null;
}

/** The user's containers of a pod that keep running among its init containers. */
export function nativeSidecars(pod: Pod): readonly Container[] {
  return (pod.spec.initContainers ?? []).filter((container) => container.restartPolicy === "Always");
}

function checkContainer(value: unknown, path: string): void {
  const container = checkNamed(value, path);
  for (const field of ["image", "restartPolicy"]) optionalText(container, field, path);
  checkEach(container["ports"], `${path}.ports`, checkPort);
  for (const field of PROBE_FIELDS) if (container[field] != null) checkHandler(container[field], `${path}.${field}`);
  const lifecycle = optionalRecord(container["lifecycle"], `${path}.lifecycle`);
  for (const hook of HOOKS) if (lifecycle?.[hook] != null) checkHandler(lifecycle[hook], `${path}.lifecycle.${hook}`);
  optionalRecord(container["securityContext"], `${path}.securityContext`);
}

function checkPort(value: unknown, path: string): void {
  const port = record(value, path);
  for (const field of ["name", "protocol"]) optionalText(port, field, path);
  const { containerPort } = port;
  if (typeof containerPort !== "number") throw malformed(`${path}.containerPort`, "a number", describe(containerPort));
}

/** Checks the items of a list that may be missing. */
function checkEach(value: unknown, path: string, check: (item: unknown, path: string) => void): void {
  if (value === undefined || value === null) return;
  const items = list(value, path);
  for (let index = 0; index < items.length; index += 1) check(items[index], `${path}[${index}]`);
}

function checkHandler(value: unknown, path: string): void {
  const handler = optionalRecord(value, path);
  for (const kind of ["httpGet", "tcpSocket", "grpc"]) {
    if (handler?.[kind] == null) continue;
    const place = `${path}.${kind}`;
    const ask = record(handler[kind], place);
    for (const field of ["path", "scheme", "host", "service"]) optionalText(ask, field, place);
    const { port } = ask;
    if (typeof port !== "number" && typeof port !== "string") throw malformed(`${place}.port`, "a number or a port name", describe(port));
  }
}

function checkNamed(value: unknown, path: string): Readonly<Record<string, unknown>> {
  const item = record(value, path);
  if (typeof item["name"] !== "string" || item["name"] === "") throw malformed(`${path}.name`, "a text", describe(item["name"]));
  return item;
}

/** Of an object at `path`, which is put together only where something is wrong. */
function optionalText(object: Readonly<Record<string, unknown>> | null, field: string, path: string): void {
  const value = object?.[field];
  if (value !== undefined && value !== null && typeof value !== "string") throw malformed(`${path}.${field}`, "a text", describe(value));
}

function texts(value: unknown, path: string): void {
  const object = optionalRecord(value, path) ?? {};
  for (const key of Object.keys(object)) {
    const text = object[key];
    if (typeof text !== "string") throw malformed(`${path}[${JSON.stringify(key.slice(0, 100))}]`, "a text", describe(text));
  }
}

function record(value: unknown, path: string): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw malformed(path, "an object", describe(value));
  return value as Readonly<Record<string, unknown>>;
}

function optionalRecord(value: unknown, path: string): Readonly<Record<string, unknown>> | null {
  return value === undefined || value === null ? null : record(value, path);
}

function list(value: unknown, path: string): readonly unknown[] {
  if (!Array.isArray(value)) throw malformed(path, "a list", describe(value));
  return value;
}

function describe(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  return Array.isArray(value) ? "a list" : `a ${typeof value}`;
}

function malformed(path: string, wanted: string, found: string): AdmissionError {
  return new AdmissionError("malformed_review", `not a pod: ${path} must be ${wanted}, found ${found}`, { fields: { path } });
}

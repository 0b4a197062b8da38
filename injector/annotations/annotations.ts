// Every annotation that a workload may carry, in one table: it drives reading, checking, the messages and the documentation. A setting that an
// annotation does not give stays with the sidecar's own default, so that a new sidecar version may choose a better one.
import { nearestName } from "../../core/nearest.ts";
import {
  type AnnotationType,
  accessList,
  choice,
  cidrList,
  cpu,
  duration,
  durationWithin,
  flag,
  image,
  integer,
  label,
  memory,
  percentage,
  portList,
  portProtocols,
  rateLimits,
  routes,
} from "./annotation-types.ts";

/** All our annotations and labels begin with this. */
export const ANNOTATION_PREFIX = "remora.io/";
/** The label on namespaces and pods that asks for a sidecar. */
export const INJECT_LABEL = "remora.io/inject";
/** Written by the injector: what it did, and what undoing it needs. */
export const INJECTED_ANNOTATION = "remora.io/injected";

/** Where an annotation has an effect: `both` means that a namespace gives its pods a default. */
export type AnnotationScope = "pod" | "namespace" | "both";

/** One row of {@link ANNOTATIONS}. */
export interface AnnotationRow<T> {
  readonly type: AnnotationType<T>;
  readonly scope: AnnotationScope;
  /** What holds without the annotation, in words or as a value. */
  readonly default: string;
  readonly doc: string;
}

const MODES = choice(["strict", "permissive"]);
const SIGNING = choice(["hmac", "sign", "mtls"]);

/** The annotations, without their prefix. */
export const ANNOTATIONS = {
  mode: row(MODES, "strict", "Whether callers without mesh identity are refused (strict) or served (permissive)."),
  capture: row(
    choice(["transparent", "explicit", "auto"]),
    "transparent",
    "How traffic reaches the sidecar: redirected by iptables, or by the app itself. `auto` is explicit where the namespace forbids what iptables needs.",
  ),
  ports: row(portProtocols, "from the names of the container ports", "Protocols of the app's ports.", "pod"),
  "opaque-ports": row(
    portList,
    "25,587,3306,4444,5432,6379,9300,11211",
    "Ports whose bytes are never looked at, because the server speaks first.",
  ),
  "skip-inbound-ports": row(portList, "none", "Ports that callers reach without the sidecar."),
  "skip-outbound-ports": row(portList, "none", "Destination ports that the app reaches without the sidecar."),
  "skip-outbound-cidrs": row(cidrList, "none", "Destination networks that the app reaches without the sidecar."),
  egress: row(choice(["allow", "deny"]), "allow", "What happens to connections to destinations outside the mesh."),
  allow: row(accessList, "*", "Who may call this workload."),
  "rate-limit": row(rateLimits, "none", "Limits on incoming requests."),
  "max-inflight": row(integer(1, 1_000_000), "1024", "Requests served at once; more are refused with `overloaded`."),
  routes: row(
    routes,
    "none",
    "Timeouts and retries of the workload's own requests, by service, path and method; the first that matches holds.",
  ),
  "request-timeout": row(
    durationWithin("0s", "1d"),
    "none",
    "Time for a request of the workload, from its head to the end of its answer; 0s for none.",
  ),
  "answer-timeout": row(
    durationWithin("0s", "1d"),
    "none",
    "Time for the head of the answer to a request of the workload, retries included; 0s for none.",
  ),
  "stream-idle-timeout": row(
    durationWithin("0s", "1d"),
    "none",
    "Longest time in which nothing of a request of the workload or of its answer moves; 0s for none.",
  ),
  "retry-budget": row(percentage, "20%", "Retries per request, for each destination over 10 s; 10 per second are free. 0% for no retries."),
  "breaker-failures": row(
    integer(1, 1_000),
    "7",
    "Failures in a row after which an endpoint is left alone; never more than half of them are.",
  ),
  "breaker-min-backoff": row(durationWithin("10ms", "1h"), "1s", "First time for which a failing endpoint is left alone; it doubles."),
  "breaker-max-backoff": row(durationWithin("10ms", "1d"), "60s", "Longest time for which a failing endpoint is left alone."),
  engine: row(choice(["splice", "compat"]), "splice", "What moves HTTP in the sidecar; `compat` is the slower reference, to fall back on."),
  workers: row(integer(1, 64), "1", "Processes of the sidecar that serve together, for pods that one core of sidecar is not enough for."),
  signing: row(SIGNING, "hmac", "How outgoing gRPC requests are signed."),
  verify: row(SIGNING, "hmac", "The weakest signature that incoming gRPC requests must carry."),
  "drain-timeout": row(
    duration,
    "the pod's grace period less 5 s, at most 30s",
    "How long requests in flight may take after the pod is told to stop.",
  ),
  channel: row(label, "stable", "The sidecar version track that the workload follows."),
  image: row(image, "the injector's setting", "The sidecar's image."),
  "native-sidecar": row(
    flag,
    "true where all kubelets are 1.29 or later",
    "Whether the sidecar runs as an init container that restarts, or as a plain first container.",
  ),
  "cpu-request": row(cpu, "50m", "CPU reserved for the sidecar."),
  "cpu-limit": row(cpu, "none", "The most CPU that the sidecar may use."),
  "memory-request": row(memory, "64Mi", "Memory reserved for the sidecar."),
  "memory-limit": row(memory, "256Mi", "The most memory that the sidecar may use."),
  "log-level": row(choice(["trace", "debug", "info", "warn", "error"]), "info", "How much the sidecar logs."),
  "access-log": row(flag, "true", "Whether the sidecar logs each request."),
} as const;

/** A name in {@link ANNOTATIONS}. */
export type AnnotationName = keyof typeof ANNOTATIONS;

/** Every name, in the order of the table. */
export const ANNOTATION_NAMES = Object.keys(ANNOTATIONS) as readonly AnnotationName[]; // the keys are the type

/** The parsed annotations of one pod; what it does not carry is absent. */
export type AnnotationValues = {
  readonly [Name in AnnotationName]?: (typeof ANNOTATIONS)[Name] extends AnnotationRow<infer T> ? T : never;
};

/** What {@link readAnnotations} found. */
export interface AnnotationReading {
  readonly values: AnnotationValues;
  /** One sentence for each value that is not allowed; each names annotation, value and what is allowed. */
  readonly mistakes: readonly string[];
  /** One sentence for each name that we do not know. */
  readonly warnings: readonly string[];
}

/** A longer value is wrong without being looked at. The API server allows 256 KiB for all annotations together. */
const MAX_VALUE_LENGTH = 16 * 1024;
const SHOWN_LENGTH = 100;

/**
 * Reads every `remora.io/` annotation; never throws. `place` opens the sentences of annotations that stand elsewhere than on the pod, e.g.
 * "namespace shop, ".
 */
export function readAnnotations(annotations: Readonly<Record<string, string>> | null | undefined, place = ""): AnnotationReading {
  const values: Record<string, unknown> = {};
  const mistakes: string[] = [];
  const warnings: string[] = [];
  for (const [key, text] of Object.entries(annotations ?? {})) {
    if (!key.startsWith(ANNOTATION_PREFIX) || key === INJECTED_ANNOTATION) continue;
    const name = key.slice(ANNOTATION_PREFIX.length);
    if (!isAnnotationName(name)) {
      warnings.push(place + describeUnknown(key));
      continue;
    }
    const value = parseAnnotation(name, text);
    if (value === null) mistakes.push(place + describeMistake(name, text));
    else values[name] = value;
  }
  return { values: values as AnnotationValues, mistakes, warnings }; // each value came from the parser of its own row
}

/** The value of one annotation, or null when `text` is not one. */
export function parseAnnotation(name: AnnotationName, text: string): unknown {
  const trimmed = text.trim();
  return trimmed === "" || trimmed.length > MAX_VALUE_LENGTH ? null : ANNOTATIONS[name].type.parse(trimmed);
}

/** The sentence for a value that {@link parseAnnotation} does not take: annotation, value, and what is allowed. */
export function describeMistake(name: AnnotationName, text: string): string {
  return `annotation ${ANNOTATION_PREFIX}${name}: ${shorten(text)} is not allowed; allowed: ${ANNOTATIONS[name].type.allowed}`;
}

/** True for a name in {@link ANNOTATIONS}, without prefix. */
export function isAnnotationName(name: string): name is AnnotationName {
  return Object.hasOwn(ANNOTATIONS, name);
}

/** A value as a message shows it: quoted, at most 100 characters, and nothing in it that a terminal would obey or not show. */
export function shorten(text: string): string {
  return text.length <= SHOWN_LENGTH ? quoted(text) : `${quoted(text.slice(0, SHOWN_LENGTH))}… (${text.length} characters)`;
}

function quoted(text: string): string {
  // JSON escapes C0 only; C1, line separators and what turns the direction of writing are no better.
  return JSON.stringify(text).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`);
}

function describeUnknown(key: string): string {
  const shown = shorten(key);
  if (key === INJECT_LABEL) return `annotation ${shown} has no effect: it is a label`;
  const nearest = nearestName(key.slice(ANNOTATION_PREFIX.length, ANNOTATION_PREFIX.length + SHOWN_LENGTH), ANNOTATION_NAMES);
  return `annotation ${shown} is unknown and has no effect${nearest === null ? "" : `; did you mean ${ANNOTATION_PREFIX}${nearest}?`}`;
}

function row<T>(type: AnnotationType<T>, usual: string, doc: string, scope: AnnotationScope = "both"): AnnotationRow<T> {
  return { type, scope, default: usual, doc };
}

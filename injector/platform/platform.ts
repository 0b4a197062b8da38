// What the platform team decides for the whole cluster: the ConfigMap `remora-platform` in the control plane's namespace, key `platform.yaml`. Owns
// its types, its defaults and the reading of the whole file; who gets which version is `channels.ts`, what may not be weakened `enforcement.ts`.
import { parseDocument } from "yaml";
import { ConfigError } from "../../core/errors.ts";
import { ANNOTATION_NAMES, type AnnotationName } from "../annotations/annotations.ts";
import { type FieldReader, readFields } from "./platform-fields.ts";

export { type ChannelChoice, placeOf, versionFor, type WorkloadOwner } from "./channels.ts";

/** The ConfigMap, and the key in it that holds the YAML text. */
export const PLATFORM_CONFIG_MAP = "remora-platform";
export const PLATFORM_KEY = "platform.yaml";
/** Longer texts are refused unread; a ConfigMap holds at most 1 MiB. */
const MAX_TEXT_LENGTH = 256 * 1024;
const MAX_RULES = 1_000;

/** Signature modes from weakest to strongest. */
export const SIGNATURE_STRENGTH = ["mtls", "hmac", "sign"] as const;
/** One of {@link SIGNATURE_STRENGTH}. */
export type SignatureMode = (typeof SIGNATURE_STRENGTH)[number];

/** What no workload and no namespace may weaken. Null, false and empty mean: nothing is enforced. */
export interface Enforced {
  /** `strict`: nobody may serve callers without mesh identity. */
  readonly minimumMode: "strict" | "permissive" | null;
  /** The weakest signature of outgoing gRPC. */
  readonly minimumSigning: SignatureMode | null;
  /** The weakest signature that may be demanded of callers. */
  readonly minimumVerify: SignatureMode | null;
  /** The one way in which traffic may reach the sidecar. */
  readonly capture: "transparent" | "explicit" | null;
  /** `deny`: nobody may let connections out of the mesh. */
  readonly egress: "deny" | null;
  /** Patterns (`*` for any text) of images that annotation `remora.io/image` may name; null for any. */
  readonly images: readonly string[] | null;
  /** Annotations that nobody may carry, by name without prefix. */
  readonly forbiddenAnnotations: ReadonlySet<AnnotationName>;
  /** Where the label `remora.io/inject: disabled` is refused. */
  readonly optOut: OptOut;
}

/** Where workloads may not opt out: everywhere in `forbiddenIn`, except in `allowedIn`. Patterns of namespaces. */
export interface OptOut {
  readonly forbiddenIn: readonly string[];
  readonly allowedIn: readonly string[];
}

/** Which workloads follow a channel. The first rule that fits holds. */
export interface Assignment {
  /** Pattern of the namespace's name, null for any. */
  readonly namespace: string | null;
  /** Pattern of `kind/name` in lower case, such as `deployment/web-*`; null for any. */
  readonly workload: string | null;
  readonly channel: string;
  /** How many of the workloads that fit, 0..100; the others go on to the next rule. */
  readonly percent: number;
}

/** A move of one channel from one version to another, as `remora rollout` writes it. */
export interface RolloutState {
  readonly channel: string;
  readonly from: string;
  readonly to: string;
  /** Share of the channel's workloads that get `to`, 0..100. */
  readonly percent: number;
  /** When it began, ISO 8601; null where a person wrote it without. */
  readonly startedAt: string | null;
  /** Set once the new version was found to be worse: from then on every new pod gets `from`, until somebody goes on or back. */
  readonly halted: RolloutHalt | null;
}

/** Why and when (ISO 8601) a rollout stopped. */
export interface RolloutHalt {
  readonly at: string;
  readonly why: string;
}

/** When a rollout halts by itself, and how fast it goes. Ratios are 0..1: how much worse the new version may be than the old. */
export interface RolloutPolicy {
  readonly errorRatioMargin: number;
  readonly refusedRatioMargin: number;
  readonly heartbeatLossMargin: number;
  /** Requests that the new version has to have served before its ratios are judged. */
  readonly minimumRequests: number;
  /** Pods that the new version has to have before lost heartbeats are judged. */
  readonly minimumPods: number;
  /** Time that a scheduled pod has for its first heartbeat before it counts as lost. */
  readonly heartbeatGraceMs: number;
  /** Time between the restarts of two owners. */
  readonly paceMs: number;
  /** How long the new version is watched after the last restart. */
  readonly observeMs: number;
}

/** What the control plane does about pods without a sidecar in opted-in namespaces. It always reports them. */
export interface WatchdogPolicy {
  /** Whether their owners are restarted. */
  readonly restart: boolean;
  /** Time between two restarts. */
  readonly paceMs: number;
}

/** The whole file. Immutable; a change is a new object. */
export interface Platform {
  readonly enforced: Enforced;
  /** Version by channel; empty where the injector's own version serves everybody. */
  readonly channels: ReadonlyMap<string, string>;
  /** The channel of workloads that nothing else puts on one. A key of `channels` unless that is empty. */
  readonly defaultChannel: string;
  readonly assignments: readonly Assignment[];
  /** Set exactly while a rollout is under way. */
  readonly rollout: RolloutState | null;
  readonly rolloutPolicy: RolloutPolicy;
  readonly watchdog: WatchdogPolicy;
}

/** Nothing enforced, one version for all: what holds without the ConfigMap. */
export const defaultPlatform: Platform = Object.freeze({
  enforced: {
    minimumMode: null,
    minimumSigning: null,
    minimumVerify: null,
    capture: null,
    egress: null,
    images: null,
    forbiddenAnnotations: new Set<AnnotationName>(),
    optOut: { forbiddenIn: [], allowedIn: [] },
  },
  channels: new Map(),
  defaultChannel: "stable",
  assignments: [],
  rollout: null,
  rolloutPolicy: {
    errorRatioMargin: 0.01,
    refusedRatioMargin: 0.01,
    heartbeatLossMargin: 0.05,
    minimumRequests: 100,
    minimumPods: 3,
    heartbeatGraceMs: 120_000,
    paceMs: 10_000,
    observeMs: 60_000,
  },
  watchdog: { restart: false, paceMs: 60_000 },
});

/** Reads the text of `platform.yaml`. @throws ConfigError("invalid_value") listing every mistake, one a line, each with its path in the file */
export function parsePlatform(text: string): Platform {
  const mistakes: string[] = [];
  const platform = readPlatform(parseYaml(text), mistakes);
  if (mistakes.length > 0) {
    throw new ConfigError("invalid_value", `${PLATFORM_KEY}:\n${mistakes.map((line) => `  ${line}`).join("\n")}`, { fields: { mistakes } });
  }
  return platform;
}

function parseYaml(text: string): unknown {
  if (text.length > MAX_TEXT_LENGTH) {
    throw new ConfigError("invalid_value", `${PLATFORM_KEY} has ${text.length} characters; at most ${MAX_TEXT_LENGTH} are read`);
  }
  const document = parseDocument(text);
  const [error] = document.errors;
  if (error !== undefined) {
    const [at] = error.linePos ?? [];
    const where = at === undefined ? PLATFORM_KEY : `${PLATFORM_KEY}:${at.line}:${at.col}`;
    throw new ConfigError("invalid_value", `${where}: not YAML: ${error.message.split(" at line ")[0]}`);
  }
  try {
    return document.toJS();
  } catch (cause) {
    throw new ConfigError("invalid_value", `${PLATFORM_KEY}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

function readPlatform(value: unknown, mistakes: string[]): Platform {
  // An empty file is one that decides nothing.
  const file = readFields(value ?? {}, "", mistakes);
  const channels = file.map("channels", (fields, key) => fields.version(key));
  const platform: Platform = {
    enforced: readEnforced(file.object("enforced")),
    channels,
    defaultChannel: file.name("defaultChannel") ?? defaultPlatform.defaultChannel,
    assignments: file.list("assign", MAX_RULES, readAssignment),
    rollout: readRollout(file.optionalObject("rollout")),
    rolloutPolicy: readRolloutPolicy(file.object("rolloutPolicy")),
    watchdog: readWatchdog(file.object("watchdog")),
  };
  file.end();
  mistakes.push(...contradictions(platform));
  return platform;
}

function readEnforced(fields: FieldReader): Enforced {
  const enforced: Enforced = {
    minimumMode: fields.choice("minimumMode", ["strict", "permissive"]),
    minimumSigning: fields.choice("minimumSigning", SIGNATURE_STRENGTH),
    minimumVerify: fields.choice("minimumVerify", SIGNATURE_STRENGTH),
    capture: fields.choice("capture", ["transparent", "explicit"]),
    egress: fields.choice("egress", ["deny"]),
    images: fields.patterns("images"),
    forbiddenAnnotations: new Set(fields.choices("forbiddenAnnotations", ANNOTATION_NAMES)),
    optOut: readOptOut(fields.object("optOut")),
  };
  fields.end();
  return enforced;
}

function readOptOut(fields: FieldReader): OptOut {
  const optOut = { forbiddenIn: fields.patterns("forbiddenIn") ?? [], allowedIn: fields.patterns("allowedIn") ?? [] };
  fields.end();
  return optOut;
}

function readAssignment(fields: FieldReader): Assignment {
  const assignment = {
    namespace: fields.pattern("namespace"),
    workload: fields.pattern("workload"),
    channel: fields.required("channel", fields.name("channel")) ?? "",
    percent: fields.percent("percent") ?? 100,
  };
  fields.end();
  return assignment;
}

function readRollout(fields: FieldReader | null): RolloutState | null {
  if (fields === null) return null;
  const rollout = {
    channel: fields.name("channel") ?? defaultPlatform.defaultChannel,
    from: fields.required("from", fields.version("from")) ?? "",
    to: fields.required("to", fields.version("to")) ?? "",
    percent: fields.required("percent", fields.percent("percent")) ?? 0,
    startedAt: fields.instant("startedAt"),
    halted: readHalt(fields.optionalObject("halted")),
  };
  fields.end();
  return rollout;
}

function readHalt(fields: FieldReader | null): RolloutHalt | null {
  if (fields === null) return null;
  const halt = {
    at: fields.required("at", fields.instant("at")) ?? "",
    why: fields.required("why", fields.sentence("why")) ?? "",
  };
  fields.end();
  return halt;
}

function readRolloutPolicy(fields: FieldReader): RolloutPolicy {
  const usual = defaultPlatform.rolloutPolicy;
  const policy = {
    errorRatioMargin: fields.ratio("errorRatioMargin") ?? usual.errorRatioMargin,
    refusedRatioMargin: fields.ratio("refusedRatioMargin") ?? usual.refusedRatioMargin,
    heartbeatLossMargin: fields.ratio("heartbeatLossMargin") ?? usual.heartbeatLossMargin,
    minimumRequests: fields.count("minimumRequests") ?? usual.minimumRequests,
    minimumPods: fields.count("minimumPods") ?? usual.minimumPods,
    heartbeatGraceMs: fields.duration("heartbeatGrace") ?? usual.heartbeatGraceMs,
    paceMs: fields.duration("pace") ?? usual.paceMs,
    observeMs: fields.duration("observe") ?? usual.observeMs,
  };
  fields.end();
  return policy;
}

function readWatchdog(fields: FieldReader): WatchdogPolicy {
  const policy = {
    restart: fields.flag("restart") ?? defaultPlatform.watchdog.restart,
    paceMs: fields.duration("pace") ?? defaultPlatform.watchdog.paceMs,
  };
  fields.end();
  return policy;
}

/** What each field alone cannot show: a channel that is named has to exist. */
function contradictions({ channels, defaultChannel, assignments, rollout }: Platform): readonly string[] {
  const known = channels.size === 0 ? "no channels are given" : `channels has ${[...channels.keys()].join(", ")}`;
  const named: readonly (readonly [string, string])[] = [
    ...(channels.size === 0 ? [] : [["defaultChannel", defaultChannel] as const]),
    ...assignments.map(({ channel }, index) => [`assign[${index}].channel`, channel] as const),
    ...(rollout === null ? [] : [["rollout.channel", rollout.channel] as const]),
  ];
  const missing = named.filter(([, channel]) => channel !== "" && !channels.has(channel));
  return missing.map(([path, channel]) => `${path}: there is no channel ${JSON.stringify(channel)}; ${known}`);
}

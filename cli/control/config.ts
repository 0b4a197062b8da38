// The table of settings of the control plane (style 18), and what follows from where it runs: inside Kubernetes all three roles and every address,
// outside the CA and the registry on loopback.
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { type Environment, loadConfig, setting, type Values } from "../../core/config.ts";
import { ConfigError } from "../../core/errors.ts";
import { type AccessList, CALLER_FORMS, parseAccessList } from "../../core/policy/access-list.ts";
import { parseWatchRules, WATCH_RULE_FORMS, type WatchRule } from "../../core/policy/watch-rules.ts";
import { LOG_LEVELS } from "../../core/log.ts";
import { parseRedisAddress, type RedisAddress } from "../../registry/redis/address.ts";
import { injectorSettings } from "./injector-config.ts";

/** The parts that one control plane may run. */
export const ROLES = ["ca", "registry", "injector"] as const;
/** One of {@link ROLES}. */
export type Role = (typeof ROLES)[number];

/** Every setting, with its variable, default and meaning. */
export const controlSettings = {
  roles: setting.list({
    default: [],
    pattern: /^(ca|registry|injector)$/,
    allowed: "a list of ca, registry, injector",
    doc: "Which parts to run. Default: all three in Kubernetes, `ca,registry` elsewhere.",
  }),
  kubernetes: setting.choice({
    values: ["auto", "on", "off"],
    default: "auto",
    doc: "Whether to use the Kubernetes API; `auto` means when running in a pod.",
  }),
  bindAddress: setting.ip({ default: null, doc: "Address of every port. Default: `::` in Kubernetes, `127.0.0.1` elsewhere." }),
  grpcPort: setting.port({ default: 15010, doc: "Port of Identity and Registry: gRPC over TLS 1.3." }),
  webhookPort: setting.port({ default: 15017, doc: "Port of the injector's webhook: HTTPS." }),
  adminPort: setting.port({ default: 15014, doc: "Port of health, metrics and the REST API: HTTP." }),
  stateDir: setting.text({
    default: null,
    doc: "Folder for the CA's key and join tokens. Default: `~/.remora`; in Kubernetes Secrets are used.",
  }),
  trustDomain: setting.text({
    default: "cluster.local",
    pattern: /^[a-z0-9.-]{1,255}$/,
    allowed: "a DNS name in lower case",
    doc: "Trust domain of every identity.",
  }),
  controlNamespace: setting.text({
    default: "remora-system",
    doc: "Namespace of the control plane's own identity, Secrets and ConfigMap.",
  }),
  caCertFile: setting.text({
    default: null,
    doc: "PEM certificate to sign with, instead of a root of our own making: a root, or an issuer and those between it and its root. Read again when it changes.",
  }),
  caKeyFile: setting.text({ default: null, doc: "PEM key of that certificate." }),
  caRootFile: setting.text({
    default: null,
    doc: "PEM roots that the mesh trusts, cert-manager's `ca.crt`. Needed for an issuer; without it `REMORA_CA_CERT_FILE` is the root.",
  }),
  leafTtl: setting.duration({ default: "24h", min: "10s", max: "30d", doc: "Life of a workload's certificates; renewal starts at 70 %." }),
  store: setting.choice({
    values: ["memory", "redis"],
    default: "memory",
    doc: "Where leases are kept: in this process, or in Redis shared by replicas.",
  }),
  redisUrl: setting.secret({
    default: null,
    doc: "Needed by the store `redis`: `redis://user:password@host:6379/0`, `redis-sentinel://…@sentinel1,sentinel2:26379/master-name/0` or `redis-cluster://…@node1,node2:6379`. With TLS: `rediss…`.",
  }),
  redisCaFile: setting.text({ default: null, doc: "PEM roots that Redis's certificate is checked with. Default: the system's." }),
  redisCertFile: setting.text({ default: null, doc: "PEM certificate for a Redis that asks its clients for one." }),
  redisKeyFile: setting.text({ default: null, doc: "PEM key of that certificate." }),
  redisSentinelUser: setting.text({ default: null, doc: "User for Sentinels that ask for one; the one in the URL is for the servers." }),
  redisSentinelPassword: setting.secret({ default: null, doc: "Password for Sentinels that ask for one." }),
  servicesFile: setting.text({ default: null, doc: "YAML file that defines services with virtual addresses, outside of Kubernetes." }),
  registryUrls: setting.list({
    default: [],
    pattern: /^https?:\/\/[^/]+$/,
    allowed: "addresses such as http://10.0.0.1:15014",
    doc: "Admin addresses of all replicas of the registry, for the guard of rollouts. Default: those of the control plane's pods.",
  }),
  heartbeatInterval: setting.duration({ default: "5s", min: "100ms", max: "5m", doc: "How often a sidecar reports." }),
  lease: setting.duration({ default: "15s", min: "300ms", max: "15m", doc: "How long an instance stays known without a report." }),
  controlAddress: setting.text({
    default: null,
    doc: "`host:port` of the control plane that runs the CA, for a process without that role.",
  }),
  trustPin: setting.list({ default: [], doc: "`sha256:HEX` of the roots trusted for that first connection." }),
  tokenFile: setting.text({
    default: "/var/run/secrets/remora.io/token",
    doc: "Service-account token with audience remora.io, for the same.",
  }),
  joinToken: setting.secret({
    default: null,
    doc: "Join token for the same outside of Kubernetes, from `remora token remora-control --namespace remora-system`.",
  }),
  drainTimeout: setting.duration({ default: "10s", min: "0s", max: "10m", doc: "Time to finish what is in flight at shutdown." }),
  logLevel: setting.choice({ values: LOG_LEVELS, default: "info", doc: "Least severe level that is logged." }),
  logFile: setting.text({ default: null, doc: "Also log into this file, which rotates: `remora.log` becomes `remora.1.log`, …" }),
  logFileSize: setting.size({ default: "64MiB", min: "1KiB", doc: "Size at which the log file rotates; it also does at midnight." }),
  logFileKeep: setting.integer({ default: 7, max: 1000, doc: "How many rotated log files are kept." }),
  meshReaders: setting.parsed<AccessList>({
    default: null,
    parse: parseAccessList,
    allowed: `* or a list of ${CALLER_FORMS}`,
    doc: "Who may read the whole mesh at `/api/v1/services` and `/api/v1/instances` from elsewhere, proven by a service-account token with audience remora.io. Default: nobody; from this machine (`kubectl port-forward`) everybody.",
  }),
  readToken: setting.secret({ default: null, doc: "A token with which anybody may read the whole mesh, too; sent as `X-Remora-Token`." }),
  watchRoles: setting.parsed<readonly WatchRule[]>({
    default: null,
    parse: parseWatchRules,
    allowed: WATCH_RULE_FORMS,
    doc: "Who may learn where which services are, such as `who=shop/* what=shop/*,pay/api; who=ops/* what=*`. What is not allowed looks as if it did not exist. Default: everybody of all.",
  }),
  identityStreams: setting.integer({
    default: 20_000,
    min: 1,
    max: 1_000_000,
    doc: "Streams that one identity may have open; all pods of a service account are one.",
  }),
  identityCallRate: setting.integer({
    default: 2000,
    min: 1,
    max: 1_000_000,
    doc: "New streams and calls per second of one identity; ten seconds' worth may come at once.",
  }),
  addressCallRate: setting.integer({
    default: 1000,
    min: 1,
    max: 1_000_000,
    doc: "Calls per second that one address may make without an identity (for a first certificate, over REST); ten seconds' worth may come at once.",
  }),
  identityMessageRate: setting.integer({
    default: 5000,
    min: 1,
    max: 1_000_000,
    doc: "Messages per second of one identity over all its streams; ten seconds' worth may come at once.",
  }),
  auditFile: setting.text({
    default: null,
    doc: "Append-only file for who registered, who was refused and which certificate went to whom; `remora audit` checks and reads it. Default: the log.",
  }),
  auditFileSize: setting.size({ default: "64MiB", min: "4KiB", doc: "Size at which a new audit file is begun." }),
  auditFileKeep: setting.integer({
    default: 30,
    min: 1,
    max: 10_000,
    doc: "How many complete audit files are kept; older ones are removed.",
  }),
  metricsToken: setting.secret({ default: null, doc: "When set, `/metrics` asks for it." }),
  ...injectorSettings,
};

/** The settings as they stand in the environment, with everything that follows from them. */
export type ControlConfig = Omit<Readonly<Values<typeof controlSettings>>, "roles" | "kubernetes" | "bindAddress" | "stateDir"> & {
  readonly roles: ReadonlySet<Role>;
  readonly inKubernetes: boolean;
  readonly bindAddress: string;
  /** Null in Kubernetes when none is given: keys are Secrets there and join tokens are off. */
  readonly stateDir: string | null;
};

/** Reads the environment. @throws ConfigError listing every mistake */
export function loadControlConfig(env: Environment, alsoKnown: readonly string[] = []): ControlConfig {
  const values = loadConfig("remora control", controlSettings, env, { alsoKnown });
  const inKubernetes = values.kubernetes === "on" || (values.kubernetes === "auto" && env["KUBERNETES_SERVICE_HOST"] !== undefined);
  const asked = values.roles.filter((role): role is Role => ROLES.some((known) => known === role));
  const roles = new Set<Role>(asked.length > 0 ? asked : inKubernetes ? ROLES : ["ca", "registry"]);
  const mistakes = contradictions(values, roles, inKubernetes);
  if (mistakes.length > 0) {
    throw new ConfigError(
      "invalid_settings",
      `the settings of remora control contradict each other:\n${mistakes.map((line) => `  ${line}`).join("\n")}`,
    );
  }
  return Object.freeze({
    ...values,
    roles,
    inKubernetes,
    bindAddress: values.bindAddress ?? (inKubernetes ? "::" : "127.0.0.1"),
    stateDir: values.stateDir !== null ? resolve(values.stateDir) : inKubernetes ? null : defaultStateDir(env),
  });
}

/** The state folder of a control plane on this machine: `REMORA_STATE_DIR`, else `~/.remora`. */
export function defaultStateDir(env: Environment): string {
  const given = env["REMORA_STATE_DIR"];
  return given === undefined || given === "" ? join(homedir(), ".remora") : resolve(given);
}

function contradictions(values: Readonly<Values<typeof controlSettings>>, roles: ReadonlySet<Role>, inKubernetes: boolean): string[] {
  const mistakes: string[] = [];
  mistakes.push(...redisContradictions(values));
  if ((values.caCertFile === null) !== (values.caKeyFile === null)) mistakes.push("REMORA_CA_CERT_FILE and REMORA_CA_KEY_FILE go together");
  if (values.caRootFile !== null && values.caCertFile === null)
    mistakes.push("REMORA_CA_ROOT_FILE needs REMORA_CA_CERT_FILE and REMORA_CA_KEY_FILE, which are of one of its roots");
  if (values.lease < values.heartbeatInterval * 2) mistakes.push("REMORA_LEASE must be at least twice REMORA_HEARTBEAT_INTERVAL");
  if (roles.has("injector") && !inKubernetes)
    mistakes.push("the role injector works only in Kubernetes (REMORA_KUBERNETES=on uses your kubeconfig)");
  if (values.webhookClientNames.length > 0 && values.webhookClientCa === null)
    mistakes.push("REMORA_WEBHOOK_CLIENT_NAMES needs REMORA_WEBHOOK_CLIENT_CA, which proves the names");
  if (values.servicesFile !== null && inKubernetes)
    mistakes.push("REMORA_SERVICES_FILE is for use outside of Kubernetes, where the API server knows the services");
  if (roles.has("registry") && !roles.has("ca")) {
    if (values.controlAddress === null) mistakes.push("the role registry without ca needs REMORA_CONTROL_ADDRESS, where the CA is");
    if (values.trustPin.length === 0 && values.joinToken === null)
      mistakes.push("the role registry without ca needs REMORA_TRUST_PIN or REMORA_JOIN_TOKEN");
  }
  return mistakes;
}

function redisContradictions(values: Readonly<Values<typeof controlSettings>>): string[] {
  if (values.store === "memory") return values.redisUrl === null ? [] : ["REMORA_REDIS_URL is set but REMORA_STORE=memory does not use it"];
  if (values.redisUrl === null) return ["REMORA_STORE=redis needs REMORA_REDIS_URL"];
  const mistakes: string[] = [];
  const address = readRedisAddress(values.redisUrl.reveal(), mistakes);
  const files = [values.redisCaFile, values.redisCertFile, values.redisKeyFile];
  if (address !== null && !address.tls && files.some((file) => file !== null))
    mistakes.push("REMORA_REDIS_CA_FILE, _CERT_FILE and _KEY_FILE are for TLS, but REMORA_REDIS_URL does not start with rediss");
  if ((values.redisCertFile === null) !== (values.redisKeyFile === null))
    mistakes.push("REMORA_REDIS_CERT_FILE and REMORA_REDIS_KEY_FILE go together");
  if (address !== null && address.mode !== "sentinel" && (values.redisSentinelUser ?? values.redisSentinelPassword) !== null)
    mistakes.push("REMORA_REDIS_SENTINEL_USER and _PASSWORD are for redis-sentinel://, which REMORA_REDIS_URL is not");
  if (values.redisSentinelUser !== null && values.redisSentinelPassword === null)
    mistakes.push("REMORA_REDIS_SENTINEL_USER needs REMORA_REDIS_SENTINEL_PASSWORD");
  return mistakes;
}

function readRedisAddress(url: string, mistakes: string[]): RedisAddress | null {
  try {
    return parseRedisAddress(url);
  } catch (error) {
    mistakes.push(`REMORA_REDIS_URL: ${(error as Error).message}`); // the parser leaves the password out
    return null;
  }
}

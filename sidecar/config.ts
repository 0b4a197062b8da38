// The table of settings of the sidecar (style 18). The injector and `remora run` set them; operators do by annotation.
import { setting, type Values } from "../core/config.ts";
import { LOG_LEVELS } from "../core/log.ts";
import { formatPercentage, parsePercentage } from "../core/percentage.ts";
import { type AppPort, formatAppPorts, parseAppPorts, parsePortSet } from "./app-ports.ts";
import { ENGINES } from "./engine.ts";
import { parseAccess } from "./policy/access.ts";
import { formatRateLimits, parseRateLimits } from "./policy/rate-limit.ts";
import { formatRoutes, parseRoutes } from "../core/policy/route-rules.ts";
import { DEFAULT_BREAKER } from "./resilience/breaker.ts";
import { DEFAULT_RETRY_BUDGET } from "./resilience/retry-budget.ts";

/** In the environment of a worker: its number, from 1. No setting: the sidecar sets it for its own workers, and nobody else does. */
export const WORKER_VARIABLE = "REMORA_INTERNAL_WORKER";

/** Ports whose server speaks first (design 6). */
export const SERVER_SPEAKS_FIRST = "25,587,3306,4444,5432,6379,9300,11211";

/** Every setting, with its variable, default and meaning. */
export const sidecarSettings = {
  capture: setting.choice({
    values: ["transparent", "explicit"],
    default: "transparent",
    doc: "How traffic reaches the sidecar: iptables redirect, or the app is pointed at it.",
  }),
  mode: setting.choice({ values: ["strict", "permissive"], default: "strict", doc: "Refuse or serve clients without mesh mTLS." }),
  trustDomain: setting.text({ default: "cluster.local", doc: "Trust domain of all identities." }),
  namespace: setting.text({ default: "default", doc: "Namespace of the workload." }),
  serviceAccount: setting.text({ default: "default", doc: "Service account of the workload." }),
  instanceId: setting.text({ default: "", doc: "Unique id of this instance, the pod UID; made at start when empty." }),
  podName: setting.text({ default: "", doc: "Name for logs." }),
  podIps: setting.list({ default: [], doc: "Own addresses, the preferred one first; loopback when empty." }),
  services: setting.list({ default: [], doc: "Services that this workload announces; in Kubernetes the registry knows them." }),
  ports: setting.parsed<readonly AppPort[]>({
    default: [],
    parse: parseAppPorts,
    format: formatAppPorts,
    allowed: "PORT or PORT=detect|http1|http2|grpc|tcp, separated by commas",
    doc: "The app's ports: `8080=http1,9090=grpc,6379=tcp`; without a protocol it is detected.",
  }),
  controlAddress: setting.text({ default: "remora-control.remora-system.svc:15010", doc: "host:port of the control plane's gRPC port." }),
  caAddress: setting.text({
    default: null,
    doc: "host:port of the CA where it runs apart from the registry. Default: the control plane's.",
  }),
  controlNamespace: setting.text({ default: "remora-system", doc: "Namespace of the control plane's identity." }),
  trustPin: setting.list({ default: [], doc: "`sha256:HEX` of the trusted roots, for the first connection to the control plane." }),
  tokenFile: setting.text({ default: "/var/run/secrets/remora.io/token", doc: "Projected service-account token, audience remora.io." }),
  joinToken: setting.secret({ default: null, doc: "One-time token from `remora token`; used instead of the token file." }),
  stateDir: setting.text({
    default: null,
    doc: "Folder for the last snapshots and the trust bundle; nothing is kept without one.",
  }),
  bindAddress: setting.text({
    default: "",
    doc: "Address of the ports; empty is `::` in transparent and `127.0.0.1` in explicit capture.",
  }),
  outboundPort: setting.port({ default: 15001, doc: "Port for traffic from the app." }),
  inboundPort: setting.port({ default: 15006, doc: "Port for traffic to the app." }),
  adminPort: setting.port({ default: 15020, doc: "Port of the admin server." }),
  appHost: setting.text({
    default: "",
    doc: "Host of the app for connections without an original destination; empty is the pod's address, or 127.0.0.1 in explicit capture.",
  }),
  egress: setting.choice({ values: ["allow", "deny"], default: "allow", doc: "What happens to destinations that are not in the mesh." }),
  opaquePorts: setting.parsed<ReadonlySet<number>>({
    default: parsePortSet(SERVER_SPEAKS_FIRST),
    parse: parsePortSet,
    format: (ports) => [...ports].join(","),
    allowed: "ports separated by commas",
    doc: "Destination ports that are opaque TCP without looking.",
  }),
  allow: setting.parsed({
    default: parseAccess("*"),
    parse: parseAccess,
    format: () => "*",
    allowed: "`*` or a list",
    doc: "Who may call: `*`, or a list of `namespace/service-account`, `namespace/*` and SPIFFE ids.",
  }),
  rateLimit: setting.parsed({
    default: parseRateLimits(""),
    parse: parseRateLimits,
    format: formatRateLimits,
    allowed: "rate limit rules",
    doc: "Rate limits: `100/s burst=200 per=identity path=/api/ method=POST; 20/s per=ip`.",
  }),
  routes: setting.parsed({
    default: parseRoutes(""),
    parse: parseRoutes,
    format: formatRoutes,
    allowed: "routes",
    doc: "Timeouts and retries of the app's own requests: `service=orders path=/shop.Orders/ timeout=2s retry=idempotent; service=pay/* timeout=1s`.",
  }),
  requestTimeout: setting.duration({
    default: "0s",
    max: "1d",
    doc: "Time for a request of the app, from its head to the last byte of its answer; 0s for none.",
  }),
  answerTimeout: setting.duration({
    default: "0s",
    max: "1d",
    doc: "Time for the head of the answer to a request of the app, retries included; 0s for none.",
  }),
  streamIdleTimeout: setting.duration({
    default: "0s",
    max: "1d",
    doc: "Longest time in which nothing of a request of the app or of its answer moves; 0s for none.",
  }),
  retryBudget: setting.parsed<number>({
    default: DEFAULT_RETRY_BUDGET.ratio,
    parse: parsePercentage,
    format: formatPercentage,
    allowed: "0% to 100%",
    doc: "Retries per request, for each destination over 10 s; 10 per second are free. 0% for no retries.",
  }),
  breakerFailures: setting.integer({
    default: DEFAULT_BREAKER.failures,
    min: 1,
    max: 1_000,
    doc: "Failures in a row after which an endpoint is left alone; never more than half of a destination's endpoints are.",
  }),
  breakerMinBackoff: setting.duration({
    default: DEFAULT_BREAKER.minBackoffMs,
    min: "10ms",
    max: "1h",
    doc: "First time for which a failing endpoint is left alone; it doubles with each failure after that.",
  }),
  breakerMaxBackoff: setting.duration({
    default: DEFAULT_BREAKER.maxBackoffMs,
    min: "10ms",
    max: "1d",
    doc: "Longest time for which a failing endpoint is left alone; at least the first.",
  }),
  engine: setting.choice({
    values: ENGINES,
    default: "splice",
    doc: "What moves HTTP: `splice`, or `compat` (http-proxy and node:http2), the slower reference.",
  }),
  maxInflight: setting.integer({
    default: 1024,
    min: 1,
    max: 1_000_000,
    doc: "Requests in flight in each direction; more are answered 503.",
  }),
  maxConnections: setting.integer({ default: 20_000, min: 1, max: 1_000_000, doc: "Open connections in each direction; more are closed." }),
  workers: setting.integer({
    default: 1,
    min: 1,
    max: 64,
    doc: "Processes that serve the ports together (Linux); limits hold for all of them in sum. One process serves most pods best.",
  }),
  signing: setting.choice({ values: ["hmac", "sign", "mtls"], default: "hmac", doc: "How outbound gRPC is signed." }),
  verify: setting.choice({ values: ["hmac", "sign", "mtls"], default: "hmac", doc: "Weakest signature that inbound gRPC may have." }),
  connectTimeout: setting.duration({ default: "5s", min: "10ms", doc: "Time for TCP and TLS to an upstream." }),
  detectTimeout: setting.duration({ default: "1s", min: "10ms", doc: "Wait for a first byte before a connection counts as opaque." }),
  idleTimeout: setting.duration({ default: "1h", min: "1s", doc: "Longest silence of an opaque connection." }),
  lookupTimeout: setting.duration({
    default: "1s",
    min: "10ms",
    doc: "Wait for the registry when a destination is asked for the first time.",
  }),
  headTimeout: setting.duration({
    default: "15s",
    min: "100ms",
    doc: "Time for a whole HTTP/1.1 request head, 408 after it, and for the first frames and any unfinished one of HTTP/2.",
  }),
  stallTimeout: setting.duration({
    default: "1m",
    min: "100ms",
    doc: "Longest time in which a peer sends nothing of a body that is due, or takes nothing of what waits for it.",
  }),
  drainTimeout: setting.duration({ default: "30s", min: "0s", doc: "Time for requests in flight to finish at shutdown." }),
  probes: setting.text({ default: "", doc: "The app's own probes as JSON, set by the injector." }),
  hooks: setting.text({ default: "", doc: "The app's own http lifecycle hooks as JSON, set by the injector." }),
  channel: setting.text({ default: "stable", doc: "Version track, told to the registry." }),
  logLevel: setting.choice({
    values: LOG_LEVELS,
    default: "info",
    doc: "Least severe level that is logged.",
  }),
  logFile: setting.text({ default: null, doc: "Also log into this file, which rotates: `remora.log` becomes `remora.1.log`, …" }),
  logFileSize: setting.size({ default: "64MiB", min: "1KiB", doc: "Size at which the log file rotates; it also does at midnight." }),
  logFileKeep: setting.integer({ default: 7, max: 1000, doc: "How many rotated log files are kept." }),
  accessLog: setting.flag({ default: true, doc: "Log a line for each request and opaque connection." }),
  metricsToken: setting.secret({ default: null, doc: "When set, `/metrics` asks for it." }),
};

/** The settings as the sidecar reads them. */
export type SidecarConfig = Values<typeof sidecarSettings>;

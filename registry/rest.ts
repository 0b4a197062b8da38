// The registry for people and scripts (design 8): what is there, and a heartbeat over plain HTTP for processes without a sidecar's stream. Served
// on the admin port; the heartbeat alone changes anything, and it needs a credential.
import type { AdminRequest, AdminResponse, Route } from "../core/admin-server.ts";
import { CertError } from "../core/errors.ts";
import type { CallLimits, OverLimit } from "../core/policy/caller-limits.ts";
import type { Reason } from "../core/reasons.ts";
import type { SpiffeId } from "../core/spiffe.ts";
import { spiffeParts } from "../core/spiffe.ts";
import type { Announce } from "./announce.ts";
import type { InstanceState } from "./lease.ts";
import { announcedServices } from "./lease.ts";
import type { LeaseStore } from "./lease-store.ts";
import type { HeldLease } from "./lease-table.ts";
import { forReaders, type MeshReadersParts } from "./mesh-readers.ts";
import { resolve } from "./resolve.ts";
import type { ServiceEntry, ServiceSource } from "./service-source.ts";
import { serviceIdOf } from "./service-source.ts";

const MAX_BODY_BYTES = 64 * 1024;
const MAX_LISTED = 10_000;
const STATES: readonly InstanceState[] = ["starting", "ready", "draining"];
const STATUS: Readonly<Partial<Record<Reason, number>>> = {
  bad_request: 400,
  unauthenticated: 401,
  forbidden: 403,
  overloaded: 503,
  rate_limited: 429,
};

/** Proves a bearer credential. Raises `CertError` when it proves nothing. */
export type Authenticate = (credential: string) => Promise<SpiffeId>;

/** What the routes need. */
export interface RestParts {
  readonly store: LeaseStore;
  readonly source: ServiceSource;
  readonly announce: Announce;
  /** Null: `POST /api/v1/heartbeat` answers 404. */
  readonly authenticate: Authenticate | null;
  /** Null: callers are not counted. */
  readonly limits: CallLimits | null;
  readonly heartbeatIntervalMs: number;
  readonly leaseMs: number;
  /** Who may read all of it. */
  readonly readers: MeshReadersParts;
}

/** The routes `GET /api/v1/services`, `GET /api/v1/instances` and `POST /api/v1/heartbeat`. */
export function createRegistryRoutes(parts: RestParts): Route[] {
  const { authenticate } = parts;
  return [
    forReaders({ method: "GET", path: "/api/v1/services", handle: ({ query }) => listServices(parts, query) }, parts.readers),
    forReaders({ method: "GET", path: "/api/v1/instances", handle: ({ query }) => listInstances(parts, query) }, parts.readers),
    ...(authenticate === null
      ? []
      : [{ method: "POST", path: "/api/v1/heartbeat", handle: (request: AdminRequest) => takeHeartbeat(parts, authenticate, request) }]),
  ];
}

function listServices({ store, source }: RestParts, query: URLSearchParams): AdminResponse {
  const unknown = unknownFilter(query, ["namespace"]);
  if (unknown !== null) return unknown;
  const namespace = query.get("namespace");
  const defined = new Map([...source.all()].map((entry) => [serviceIdOf(entry), entry]));
  const ids = new Set(defined.keys());
  for (const { lease } of store.leases.all()) for (const id of announcedServices(lease)) ids.add(id);
  const wanted = [...ids].filter((id) => namespace === null || id.startsWith(`${namespace}/`)).sort();
  const services = wanted.slice(0, MAX_LISTED).map((id) => describeService(id, defined.get(id), store, source));
  return { status: 200, body: { services, total: wanted.length, degraded: isDegraded(store) } };
}

function describeService(id: string, entry: ServiceEntry | undefined, store: LeaseStore, source: ServiceSource) {
  const [namespace = "", name = ""] = id.split("/");
  const { found, protocol, endpoints } = resolve({ kind: "service", namespace, name, port: 0 }, store.leases, source);
  return {
    namespace,
    name,
    defined: entry === undefined ? "heartbeat" : source.kind,
    meshed: found,
    ready: endpoints.length,
    protocol,
    virtualAddresses: entry?.virtualAddresses ?? [],
    ports: entry?.ports ?? [],
  };
}

function listInstances({ store }: RestParts, query: URLSearchParams): AdminResponse {
  const unknown = unknownFilter(query, ["namespace", "service", "state", "after"]);
  if (unknown !== null) return unknown;
  const state = query.get("state");
  if (state !== null && !STATES.some((known) => known === state)) {
    return refusal("bad_request", `state: one of ${STATES.join(", ")} is expected, got ${JSON.stringify(state.slice(0, 80))}`);
  }
  const [namespace, service] = [query.get("namespace"), query.get("service")];
  // The last instance of the page before: with it every instance can be listed, though no answer holds more than MAX_LISTED.
  const after = query.get("after");
  const found = [...store.leases.all()].filter(
    ({ lease }) =>
      (namespace === null || spiffeParts(lease.identity).namespace === namespace) &&
      (after === null || lease.instanceId > after) &&
      (service === null || lease.services.includes(service)) &&
      (state === null || lease.state === state),
  );
  found.sort((a, b) => (a.lease.instanceId < b.lease.instanceId ? -1 : 1));
  return {
    status: 200,
    body: { instances: found.slice(0, MAX_LISTED).map(describeInstance), total: found.length, degraded: isDegraded(store) },
  };
}

function describeInstance({ lease, load }: HeldLease) {
  const { messageCertificate, ...rest } = lease;
  return { ...rest, namespace: spiffeParts(lease.identity).namespace, signs: messageCertificate !== null, load };
}

async function takeHeartbeat(parts: RestParts, authenticate: Authenticate, request: AdminRequest): Promise<AdminResponse> {
  // Before the credential is looked at: to prove one may cost a call to the API server.
  const early = parts.limits?.addresses.of(request.remoteAddress).takeCall() ?? null;
  if (early !== null) return tooMany(parts, request, null, early);
  const credential = /^Bearer ([\x21-\x7e]{1,16384})$/i.exec(headerOf(request, "authorization"))?.[1];
  if (credential === undefined) return refusal("unauthenticated", "a credential is needed: Authorization: Bearer CREDENTIAL");
  const identity = await authenticate(credential).catch((error: unknown) => {
    if (error instanceof CertError) return null;
    throw error;
  });
  if (identity === null) return refusal("unauthenticated", "the credential proves no identity");
  const over = parts.limits?.identities.of(identity).takeCall() ?? null;
  if (over !== null) return tooMany(parts, request, identity, over);
  const message = parseJson(await request.body(MAX_BODY_BYTES));
  if (message === undefined) return refusal("bad_request", "the body is no JSON");
  const answered = await parts.announce(message, { identity, remoteAddress: request.remoteAddress, instanceId: null });
  if (!answered.accepted) return refusal(answered.reason, answered.message);
  const body = {
    accepted: true,
    identity,
    nextIntervalMs: parts.heartbeatIntervalMs,
    leaseMs: parts.leaseMs,
    degraded: isDegraded(parts.store),
  };
  return { status: 200, body };
}

function tooMany({ readers }: RestParts, request: AdminRequest, identity: SpiffeId | null, { reason, details }: OverLimit): AdminResponse {
  readers.metrics.refused.inc({ reason: "rate_limited" });
  readers.audit.record("call.refused", { method: request.path, reason, detail: details, identity, peer: request.remoteAddress });
  return refusal("rate_limited", details);
}

function headerOf({ headers }: AdminRequest, name: string): string {
  const value: unknown = headers[name];
  return typeof value === "string" ? value : "";
}

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString("utf8")) as unknown;
  } catch {
    return undefined;
  }
}

function unknownFilter(query: URLSearchParams, known: readonly string[]): AdminResponse | null {
  const unknown = [...query.keys()].find((name) => !known.includes(name));
  return unknown === undefined
    ? null
    : refusal("bad_request", `unknown filter ${JSON.stringify(unknown.slice(0, 80))}; known are ${known.join(", ")}`);
}

function refusal(reason: Reason, message: string): AdminResponse {
  return { status: STATUS[reason] ?? 500, body: { accepted: false, reason, message } };
}

function isDegraded(store: LeaseStore): boolean {
  return store.status().status === "degraded";
}

// Messages go through the real serializers, so that the hand-written types cannot drift from the .proto files unnoticed.
import type { MethodDefinition } from "@grpc/grpc-js";
import t from "tap";
import type { CertifyRequest, CertifyResponse, TrustBundle } from "../../../core/wire/identity.ts";
import { identityService, registryService } from "../../../core/wire/load.ts";
import type { HeartbeatRequest, HeartbeatResponse, WatchRequest, WatchUpdate } from "../../../core/wire/registry.ts";

type Untyped = Readonly<Record<string, unknown>>;
type AnyMethod = MethodDefinition<Untyped, Untyped>;

function method(service: object, name: string): AnyMethod {
  const found = (service as Record<string, AnyMethod | undefined>)[name];
  if (found === undefined) throw new Error(`no method ${name}`);
  return found;
}

function request<T>(service: object, name: string, message: Partial<T>): T {
  const { requestSerialize, requestDeserialize } = method(service, name);
  return requestDeserialize(requestSerialize(message as Untyped)) as T;
}

function response<T>(service: object, name: string, message: Partial<T>): T {
  const { responseSerialize, responseDeserialize } = method(service, name);
  return responseDeserialize(responseSerialize(message as Untyped)) as T;
}

const NOW_MS = Date.UTC(2026, 0, 1);

t.test("paths and kinds of the methods", async (t) => {
  t.equal(method(identityService, "Certify").path, "/remora.v1.Identity/Certify");
  t.equal(method(identityService, "WatchTrust").responseStream, true);
  const heartbeat = method(registryService, "Heartbeat");
  t.ok(heartbeat.requestStream && heartbeat.responseStream);
  t.equal(method(registryService, "Watch").path, "/remora.v1.Registry/Watch");
});

t.test("a certify request arrives with its one credential", async (t) => {
  const sent = { csr: Buffer.from([1]), messageCsr: Buffer.from([2]) };
  t.same(request<CertifyRequest>(identityService, "Certify", { ...sent, joinToken: "rmr1" }), {
    ...sent,
    joinToken: "rmr1",
    credential: "joinToken",
  });
  t.same(request<CertifyRequest>(identityService, "Certify", { ...sent, serviceAccountToken: "ey" }), {
    ...sent,
    serviceAccountToken: "ey",
    credential: "serviceAccountToken",
  });
  t.same(request<CertifyRequest>(identityService, "Certify", sent), sent, "renewal: none is set");
});

t.test("a certify response arrives whole", async (t) => {
  const trust: TrustBundle = {
    trustDomain: "cluster.local",
    version: 3,
    roots: [Buffer.from([5])],
    issuingRoot: Buffer.from([6]),
    renewWithinMs: 7,
  };
  const sent: CertifyResponse = {
    certificateChain: [Buffer.from([1, 2])],
    messageCertificate: Buffer.from([3]),
    notAfterMs: NOW_MS,
    trust,
  };
  t.same(response<CertifyResponse>(identityService, "Certify", sent), sent);
  t.same(response<CertifyResponse>(identityService, "Certify", {}), {
    certificateChain: [],
    messageCertificate: Buffer.alloc(0),
    notAfterMs: 0,
    trust: null,
  });
});

t.test("a heartbeat arrives whole, and an empty one with every default", async (t) => {
  const sent: HeartbeatRequest = {
    instanceId: "uid",
    epoch: NOW_MS,
    services: ["orders"],
    addresses: ["10.0.0.1", "fd00::1"],
    ports: [{ number: 8080, protocol: "PROTOCOL_GRPC", name: "grpc" }],
    inboundPort: 15006,
    version: "1",
    channel: "stable",
    certExpiresAtMs: NOW_MS + 1,
    state: "INSTANCE_STATE_READY",
    load: { inFlight: 1, rps: 2.5, p99Ms: 3.5, errorRatio: 0.25, requests: 2 ** 40, errors: 7, refused: 3 },
    messageCertificate: Buffer.from([9]),
    leaving: true,
    issuedByRoot: Buffer.from([10]),
    trustedRoots: [Buffer.from([11]), Buffer.from([12])],
  };
  t.same(request<HeartbeatRequest>(registryService, "Heartbeat", sent), sent);
  const empty = request<HeartbeatRequest>(registryService, "Heartbeat", {});
  t.same(Object.keys(empty).sort(), Object.keys(sent).sort());
  t.match(empty, { epoch: 0, services: [], state: "INSTANCE_STATE_STARTING", load: null, leaving: false });
  t.ok(Buffer.isBuffer(empty.messageCertificate));
});

t.test("a heartbeat's answer arrives whole", async (t) => {
  const sent: HeartbeatResponse = {
    accepted: false,
    reason: "forbidden",
    message: "no",
    nextIntervalMs: 5000,
    leaseMs: 15_000,
    degraded: true,
  };
  t.same(response<HeartbeatResponse>(registryService, "Heartbeat", sent), sent);
});

t.test("a watch names a service or an address", async (t) => {
  const base = { key: "k", unsubscribe: false, knownVersion: 7 };
  const service = { name: "orders.shop", port: 0 };
  t.same(request<WatchRequest>(registryService, "Watch", { ...base, service }), { ...base, service, destination: "service" });
  const address = { address: "10.0.0.1", port: 80 };
  t.same(request<WatchRequest>(registryService, "Watch", { ...base, address }), { ...base, address, destination: "address" });
  t.same(request<WatchRequest>(registryService, "Watch", base), base);
});

t.test("a watch's update arrives whole", async (t) => {
  const sent: WatchUpdate = {
    key: "k",
    version: 2 ** 52,
    found: true,
    full: false,
    upserts: [
      {
        instanceId: "uid",
        identity: "spiffe://cluster.local/ns/shop/sa/orders",
        address: "10.0.0.1",
        port: 8080,
        inboundPort: 0,
        protocol: "PROTOCOL_HTTP1",
        messageCertificate: Buffer.from([1]),
        version: "1",
        state: "INSTANCE_STATE_DRAINING",
      },
    ],
    removed: ["uid:8081"],
    service: "shop/orders",
    protocol: "PROTOCOL_UNSPECIFIED",
  };
  t.same(response<WatchUpdate>(registryService, "Watch", sent), sent);
});

import t from "tap";
import { startAdminServer } from "../../core/admin-server.ts";
import { CertError } from "../../core/errors.ts";
import { silentLogger } from "../../core/log.ts";
import { systemClock } from "../../core/clock.ts";
import { type CallLimits, createCallerLimits } from "../../core/policy/caller-limits.ts";
import { parseSpiffeId } from "../../core/spiffe.ts";
import { startRegistryServer } from "./harness.ts";

const ORDERS = parseSpiffeId("spiffe://cluster.local/ns/default/sa/orders");

async function start(t: { teardown(run: () => unknown): void }, limits?: CallLimits) {
  const server = await startRegistryServer({
    ...(limits === undefined ? {} : { limits }),
    authenticate: async (credential) => {
      if (credential !== "good") throw new CertError("credential_refused", "no such credential");
      return ORDERS;
    },
  });
  t.teardown(() => server.close());
  const admin = await startAdminServer({
    host: "127.0.0.1",
    port: 0,
    log: silentLogger(),
    metrics: server.metrics,
    metricsToken: null,
    info: () => ({}),
    health: () => ({ status: "ok", checks: {} }),
    ready: () => ({ ready: true, waitingFor: [] }),
    onExit: () => {},
    routes: server.registry.routes,
  });
  t.teardown(() => admin.close());
  const url = `http://127.0.0.1:${admin.port}/api/v1`;
  const get = async (path: string) => {
    const response = await fetch(`${url}/${path}`);
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };
  const post = async (body: string, authorization?: string) => {
    const headers = { "content-type": "application/json", ...(authorization === undefined ? {} : { authorization }) };
    const response = await fetch(`${url}/heartbeat`, { method: "POST", body, headers });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };
  return { get, post, server };
}

const BODY = {
  instanceId: "script-1",
  epoch: 1,
  services: ["orders"],
  addresses: ["127.0.0.1"],
  ports: [{ number: 9000, protocol: "http1" }],
  inboundPort: 9001,
  state: "ready",
};

t.test("a script announces its service over HTTP and finds it in the lists", async (t) => {
  const { get, post } = await start(t);
  t.match(await post(JSON.stringify(BODY), "Bearer good"), {
    status: 200,
    body: { accepted: true, identity: ORDERS, leaseMs: 15_000, degraded: false },
  });
  t.match(await get("instances"), {
    status: 200,
    body: {
      total: 1,
      instances: [{ instanceId: "script-1", identity: ORDERS, namespace: "default", state: "ready", load: { inFlight: 0 } }],
    },
  });
  t.match(await get("services"), {
    body: { services: [{ namespace: "default", name: "orders", ready: 1, protocol: "http1", defined: "heartbeat" }] },
  });
  for (const [query, total] of [
    ["namespace=default", 1],
    ["namespace=x", 0],
    ["service=orders", 1],
    ["service=__proto__", 0],
    ["state=ready&service=orders", 1],
    ["state=draining", 0],
    ["after=script-0", 1],
    ["after=script-1", 0],
  ] as const) {
    t.equal((await get(`instances?${query}`)).body["total"], total, query);
  }
  t.match(await get("services?namespace=other"), { body: { total: 0, services: [] } });
  t.match(await get("instances?state=gone"), { status: 400, body: { reason: "bad_request", message: /starting, ready, draining/ } });
  t.match(await get("instances?servce=orders"), { status: 400, body: { message: /known are namespace, service, state/ } });
  t.match(await post(JSON.stringify({ ...BODY, leaving: true }), "Bearer good"), { status: 200 });
  t.equal((await get("instances")).body["total"], 0);
});

t.test("without a credential, with a bad one, or with a bad body nothing is announced", async (t) => {
  const { get, post } = await start(t);
  const body = JSON.stringify(BODY);
  for (const authorization of [undefined, "good", "Basic good", "Bearer ", "Bearer bad", `Bearer ${"x".repeat(10_000)}`]) {
    t.match(
      await post(body, authorization),
      { status: 401, body: { accepted: false, reason: "unauthenticated" } },
      String(authorization).slice(0, 20),
    );
  }
  for (const bad of ["", "{", "null", "[]", "1", '"x"', JSON.stringify({ ...BODY, addresses: [] }), '{"__proto__":{"instanceId":"x"}}']) {
    t.match(await post(bad, "Bearer good"), { status: 400, body: { reason: "bad_request" } }, bad.slice(0, 30));
  }
  t.match(await post(JSON.stringify({ ...BODY, services: ["payments"] }), "Bearer good"), { status: 403, body: { reason: "forbidden" } });
  t.match(await post(JSON.stringify({ ...BODY, addresses: ["10.9.9.9"] }), "Bearer good"), { status: 403 });
  t.equal((await post(`{"x":"${"y".repeat(100_000)}"}`, "Bearer good")).status, 413);
  t.equal((await get("instances")).body["total"], 0);
});

t.test("an identity that announces too often is told so, whatever address it has", async (t) => {
  const rules = { clock: systemClock, streams: 1, messagesPerSecond: 1 };
  const identities = createCallerLimits({ ...rules, callsPerSecond: 1 });
  const { post, server } = await start(t, { identities, addresses: createCallerLimits({ ...rules, callsPerSecond: 1000 }) });
  const share = identities.of(ORDERS);
  t.match(await post(JSON.stringify(BODY), "Bearer good"), { status: 200 });
  while (share.takeCall() === null); // what it does over gRPC counts too
  t.match(await post(JSON.stringify(BODY), "Bearer good"), {
    status: 429,
    body: { reason: "rate_limited", message: /sa\/orders makes more than 1 calls/ },
  });
  t.equal(await server.metric('remora_registry_refused_total{reason="rate_limited"}'), 1);
});

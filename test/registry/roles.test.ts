// Who may read the whole mesh, who may watch what, and what the audit trail hears of instances.
import t, { type Test } from "tap";
import type { AdminRequest } from "../../core/admin-server.ts";
import type { AuditFields } from "../../core/audit/audit.ts";
import { systemClock } from "../../core/clock.ts";
import { CertError } from "../../core/errors.ts";
import { parseAccessList } from "../../core/policy/access-list.ts";
import { createCallerLimits } from "../../core/policy/caller-limits.ts";
import { parseWatchRules } from "../../core/policy/watch-rules.ts";
import { Secret } from "../../core/secret.ts";
import {
  askAddress,
  askService,
  createTestClient,
  eventually,
  heartbeatOf,
  type RegistryServerOptions,
  startRegistryServer,
} from "./harness.ts";
import { createThrowawayCa } from "../support/throwaway-ca.ts";

async function start(t: Test, options: RegistryServerOptions = {}) {
  const events: (AuditFields & { readonly event: string })[] = [];
  const audit = { record: (event: string, fields: AuditFields) => void events.push({ ...fields, event }) };
  const server = await startRegistryServer({ audit, ...options });
  t.teardown(() => server.close());
  const client = (identity: string) => {
    const made = createTestClient(server, server.ca.leaf(identity));
    t.teardown(() => made.close());
    return made;
  };
  return { server, events, client };
}

t.test("the whole mesh is read by this machine, with the token, and by who is named; by nobody else", async (t) => {
  const ca = createThrowawayCa();
  const authenticate = async (token: string) => {
    if (token !== "of-reader" && token !== "of-web") throw new CertError("credential_refused", "no");
    return ca.id(token === "of-reader" ? "remora-system/remora-reader" : "shop/web");
  };
  const readers = { readers: parseAccessList("remora-system/remora-reader"), token: new Secret("s3cret") };
  const rules = { clock: systemClock, streams: 1, messagesPerSecond: 1 };
  const addresses = createCallerLimits({ ...rules, callsPerSecond: 1 });
  const limits = { addresses, identities: createCallerLimits({ ...rules, callsPerSecond: 1 }) };
  const { server, events } = await start(t, { ca, authenticate, readers, limits });
  for (const path of ["/api/v1/services", "/api/v1/instances"]) {
    const route = server.registry.routes.find((candidate) => candidate.path === path);
    const statusOf = async (remoteAddress: string, headers: AdminRequest["headers"] = {}) => {
      const request = {
        method: "GET",
        path,
        query: new URLSearchParams(),
        headers,
        remoteAddress,
        localAddress: "10.0.0.1",
        body: async () => Buffer.alloc(0),
      };
      return (await route?.handle(request))?.status;
    };
    t.equal(await statusOf("127.0.0.1"), 200, "kubectl port-forward");
    t.equal(await statusOf("::1"), 200);
    t.equal(await statusOf("10.0.0.1"), 200, "from the very address that it called");
    t.equal(await statusOf("10.0.0.9"), 401);
    t.equal(await statusOf(""), 401, "who is not known is not this machine");
    t.equal(await statusOf("10.0.0.9", { "x-remora-token": "s3cret" }), 200);
    t.equal(await statusOf("10.0.0.9", { authorization: "Bearer s3cret" }), 200);
    t.equal(await statusOf("10.0.0.9", { "x-remora-token": "s3cre" }), 401);
    t.equal(await statusOf("10.0.0.9", { "x-remora-token": "" }), 401);
    t.equal(await statusOf("10.0.0.9", { "x-remora-token": "of-reader" }), 200);
    t.equal(await statusOf("10.0.0.9", { authorization: "Bearer of-web" }), 403, "proven, and not named");
    t.equal(await statusOf("10.0.0.9", { "x-forwarded-for": "127.0.0.1" }), 401, "no header makes a caller local");
    while (addresses.of("10.0.0.8").takeCall() === null);
    t.equal(await statusOf("10.0.0.8", { authorization: "Bearer guess" }), 429, "guessing has its bound");
    t.equal(await statusOf("10.0.0.8", { authorization: "Bearer s3cret" }), 200, "the token costs nothing to look at");
  }
  t.match(
    events.filter(({ event }) => event === "read.refused").map(({ reason }) => reason),
    ["unauthenticated", "unauthenticated", "unauthenticated", "unauthenticated", "forbidden", "unauthenticated", "rate_limited"],
  );
});

t.test("what an identity may not watch looks as if it did not exist, by name and by address", async (t) => {
  const watchRules = parseWatchRules("who=shop/web what=shop/orders; who=ops/* what=*");
  const { server, events, client } = await start(t, { watchRules });
  const announced = client("shop/orders").heartbeat();
  announced.send(heartbeatOf());
  t.match(await announced.next(), { accepted: true });
  for (const [who, found] of [
    ["shop/web", true],
    ["ops/admin", true],
    ["other/web", false],
  ] as const) {
    const stream = client(who).watch();
    for (const question of [askService("orders.shop", 8080), askAddress("127.0.0.1", 8080)]) {
      stream.send(question);
      const answer = await stream.until(({ key }) => key === question.key);
      t.match(answer, { found, full: true }, `${who} ${question.key}`);
      t.equal(answer.upserts.length, found ? 1 : 0);
      if (!found) t.equal(answer.service, "", "and nothing else is told");
    }
  }
  t.match(
    events.filter(({ event }) => event === "watch.refused"),
    [
      { identity: server.ca.id("other/web"), service: "shop/orders", reason: "forbidden" },
      { identity: server.ca.id("other/web"), reason: "forbidden" },
    ],
  );
  t.equal(await server.metric('remora_registry_refused_total{reason="forbidden"}'), 2);
});

t.test("a service that comes into view is told whole", async (t) => {
  const { client } = await start(t, { watchRules: parseWatchRules("who=shop/web what=shop/orders") });
  const [orders, web] = [client("shop/orders").heartbeat(), client("shop/web").watch()];
  orders.send(
    heartbeatOf({
      services: [],
      addresses: ["127.0.0.1"],
      ports: [{ number: 8081, protocol: "PROTOCOL_HTTP1", name: "" }],
      inboundPort: 15007,
    }),
  );
  await orders.next();
  web.send(askAddress("127.0.0.1", 8081));
  t.match(await web.next(), { found: false, upserts: [] }, "an instance of no service that it may see");
  orders.send(
    heartbeatOf({
      services: ["orders"],
      addresses: ["127.0.0.1"],
      ports: [{ number: 8081, protocol: "PROTOCOL_GRPC", name: "" }],
      inboundPort: 15007,
    }),
  );
  const answer = await web.until(({ found }) => found);
  t.match(answer, { full: true, upserts: [{ instanceId: "orders-1", port: 8081 }] });
});

t.test("the audit trail hears who registered, changed, left and was refused, and of no renewal", async (t) => {
  const { server, events, client } = await start(t);
  const names = () => events.map(({ event }) => event);
  const stream = client("shop/orders").heartbeat();
  const say = async (changes: Parameters<typeof heartbeatOf>[0]) => {
    stream.send(heartbeatOf(changes));
    return stream.next();
  };
  for (let beat = 0; beat < 5; beat += 1)
    t.match(await say({ load: { inFlight: beat, rps: 1, p99Ms: 1, errorRatio: 0, requests: beat, errors: 0, refused: 0 } }), {
      accepted: true,
    });
  await say({ state: "INSTANCE_STATE_DRAINING" });
  t.strictSame(names(), ["instance.registered"], "renewals, load and state are not told");
  await say({ inboundPort: 15009 });
  t.strictSame(names().slice(1), ["instance.changed"]);
  await say({ services: ["payments"] });
  t.match(events.at(-1), { event: "announcement.refused", reason: "forbidden", identity: server.ca.id("shop/orders"), peer: "127.0.0.1" });
  await say({ leaving: true });
  await eventually(() => names().includes("instance.left"), "left");
  t.match(events[0], { instance: "orders-1", services: ["orders"], addresses: ["127.0.0.1"], peer: "127.0.0.1" });
  t.strictSame(names(), ["instance.registered", "instance.changed", "announcement.refused", "instance.left"]);
});

import { mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { silentLogger } from "../../core/log.ts";
import { startServicesFile } from "../../registry/services-file.ts";
import { parseServicesFile } from "../../registry/services-yaml.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { askAddress, askService, createTestClient, heartbeatOf, startRegistryServer } from "./harness.ts";

const FILE = `
services:
  - name: orders
    virtualAddresses: [10.96.0.10, "fd00::10"]
    ports:
      - { port: 80, targetPort: http, protocol: http1, name: web }
      - { port: 6379, targetPort: 6380, protocol: tcp }
    instances:
      serviceAccounts: [orders, orders-v2]
  - name: blue
    instances:
      labels: { version: "2.0" }
announce:
  - identity: legacy
    services: [shop]
    addresses: [192.0.2.0/24, "fd00:1::/64"]
`;

async function start(t: { teardown(run: () => unknown): void }, text: string) {
  const folder = mkdtempSync(join(tmpdir(), "remora-services-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, "services.yaml");
  let changes = 0;
  const write = (next: string) => {
    writeFileSync(path, next);
    changes += 1;
    utimesSync(path, changes, changes);
  };
  write(text);
  const clock = createFakeClock();
  const source = await startServicesFile({ path, clock, log: silentLogger() });
  t.teardown(() => source.close());
  const server = await startRegistryServer({ services: source });
  t.teardown(() => server.close());
  return { source, server, write };
}

t.test("a virtual address leads to the target ports of the selected instances", async (t) => {
  const { server } = await start(t, FILE);
  const v1 = createTestClient(server, server.ca.leaf("default/orders"));
  const v2 = createTestClient(server, server.ca.leaf("default/orders-v2"));
  const other = createTestClient(server, server.ca.leaf("default/other"));
  t.teardown(() => [v1.close(), v2.close(), other.close()]);
  const announce = async (client: typeof v1, changes: Parameters<typeof heartbeatOf>[0]) => {
    const stream = client.heartbeat();
    stream.send(heartbeatOf(changes));
    return stream.next();
  };
  t.match(await announce(v1, {}), { accepted: true });
  t.match(
    await announce(v2, {
      instanceId: "v2-1",
      inboundPort: 2,
      ports: [{ number: 9000, protocol: "PROTOCOL_HTTP1", name: "http" }],
      version: "2.0",
    }),
    { accepted: true },
    "a selected account may announce the service's name",
  );
  t.match(await announce(other, { instanceId: "o", services: ["orders"], inboundPort: 3, ports: [] }), {
    accepted: false,
    reason: "forbidden",
  });

  const watch = v1.watch();
  watch.send(askAddress("10.96.0.10", 80));
  const view = await watch.next();
  t.match(view, { found: true, service: "default/orders", protocol: "PROTOCOL_HTTP1" });
  t.strictSame(
    view.upserts.map(({ instanceId, port }) => `${instanceId} ${port}`),
    ["orders-1 8080", "v2-1 9000"],
  );
  watch.send(askAddress("fd00:0::10", 6379));
  t.match(await watch.next(), { protocol: "PROTOCOL_TCP", upserts: [{ port: 6380 }, { port: 6380 }] });
  watch.send(askAddress("10.96.0.10", 81));
  t.match(await watch.next(), { found: false });
  watch.send(askService("orders"));
  t.match(await watch.next(), { found: true, protocol: "PROTOCOL_HTTP1" }, "port 0 is the first port");
  watch.send(askService("blue"));
  t.match(await watch.next(), { found: true, upserts: [{ instanceId: "v2-1" }] }, "by label");
});

t.test("a grant allows names and addresses to one identity only", async (t) => {
  const { server } = await start(t, FILE);
  const legacy = createTestClient(server, server.ca.leaf("default/legacy"));
  const elsewhere = createTestClient(server, server.ca.leaf("other/legacy"));
  t.teardown(() => [legacy.close(), elsewhere.close()]);
  const say = async (client: typeof legacy, addresses: readonly string[]) => {
    const stream = client.heartbeat();
    stream.send(heartbeatOf({ instanceId: "legacy-1", services: ["shop"], addresses }));
    const answer = await stream.next();
    stream.call.end();
    return answer;
  };
  t.match(await say(elsewhere, ["127.0.0.1"]), { accepted: false, message: /other\/legacy may not announce the service "shop"/ });
  t.match(await say(legacy, ["192.0.3.1"]), { accepted: false, message: /192\.0\.3\.1/ });
  t.match(await say(legacy, ["192.0.2.7", "fd00:1::7"]), { accepted: true });
});

t.test("a changed file takes effect while running; a wrong one does not", async (t) => {
  const { server, source, write } = await start(t, FILE);
  const client = createTestClient(server, server.ca.leaf("default/orders"));
  t.teardown(() => client.close());
  const beat = client.heartbeat();
  beat.send(heartbeatOf());
  await beat.next();
  const watch = client.watch();
  watch.send(askAddress("10.96.0.20", 80));
  t.match(await watch.next(), { found: false });
  write(FILE.replace("[10.96.0.10,", "[10.96.0.20,"));
  await source.reload();
  t.match(await watch.next(), { found: true, service: "default/orders" });
  write("services: [{ name: NO }]");
  await source.reload();
  t.match(server.registry.health(), { status: "degraded", message: /NO/ });
  t.ok(source.byVirtualAddress("10.96.0.20"), "the last good one stays");
  write(FILE);
  await source.reload();
  t.match(server.registry.health(), { status: "ok" });
});

t.test("all mistakes are told at once, each with its place", async (t) => {
  const text = `
services:
  - { name: Orders, virtualAddresses: [nowhere], ports: [{ port: 0, protocol: quic }], extra: 1 }
  - { name: a, instances: {} }
  - { name: a, virtualAddresses: [10.0.0.1] }
  - { name: b, virtualAddresses: ["::ffff:10.0.0.1"] }
announce:
  - { identity: "a/b/c", services: ["x y"], addresses: [10.0.0.0/99] }
unknown: 1
`;
  const error = t.throws(() => parseServicesFile(text), { code: "invalid_value" }) as Error;
  const places = [
    "services[0].name",
    "services[0].virtualAddresses[0]",
    "services[0].ports[0].port",
    "services[0].ports[0].protocol",
    '"extra"',
    "services[1].instances",
    "default/a is there twice",
    "10.0.0.1 belongs to",
    "announce[0].identity",
    "announce[0].services[0]",
    "announce[0].addresses[0]",
    '"unknown"',
  ];
  for (const place of places) t.ok(error.message.includes(place), place);
  for (const bad of ["[", "- 1", "services: 5", "a: &a [*a]", "services: [5]"])
    t.throws(() => parseServicesFile(bad), { code: "invalid_value" }, bad);
  t.strictSame(parseServicesFile(""), { services: [], grants: [] });
  await t.rejects(startServicesFile({ path: "/nonexistent/services.yaml", clock: createFakeClock(), log: silentLogger() }), {
    code: "invalid_value",
  });
});

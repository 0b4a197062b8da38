import t from "tap";
import { RegistryError } from "../../core/errors.ts";
import { parseSpiffeId } from "../../core/spiffe.ts";
import { parseAnnouncement, parseLease } from "../../registry/announcement.ts";
import { formatLease } from "../../registry/lease.ts";
import { createTestClient, heartbeatOf, startRegistryServer } from "./harness.ts";

const ORDERS = parseSpiffeId("spiffe://cluster.local/ns/default/sa/orders");

t.test("an announcement means the same in wire words and in JSON words", async (t) => {
  const [one, two] = [Buffer.from("00112233445566aa", "hex"), Buffer.from("ffeeddccbbaa9988", "hex")];
  const wire = parseAnnouncement(heartbeatOf({ issuedByRoot: one, trustedRoots: [two, one, two] }), ORDERS);
  const json = parseAnnouncement(
    JSON.parse(
      JSON.stringify({
        ...heartbeatOf(),
        ports: [{ number: 8080, protocol: "http1", name: "http" }],
        state: "ready",
        messageCertificate: Buffer.from("message certificate").toString("base64"),
        issuedByRoot: "00112233445566aa",
        trustedRoots: ["00112233445566aa", "ffeeddccbbaa9988"],
      }),
    ),
    ORDERS,
  );
  t.equal(formatLease(json.lease), formatLease(wire.lease));
  t.match(wire.lease, { state: "ready", services: ["orders"], inboundPort: 15006 });
  t.match(wire.load, { inFlight: 1, rps: 2, p99Ms: 3, errorRatio: 0, requests: 40, errors: 4, refused: 2 });
});

t.test("a lease survives being written and read, byte for byte", async (t) => {
  const full = parseAnnouncement(
    heartbeatOf({ services: ["b", "a", "b"], addresses: ["FD00:0::1", "::ffff:10.0.0.1", "10.0.0.1"] }),
    ORDERS,
  ).lease;
  t.strictSame(full.services, ["a", "b"], "sorted, once each");
  t.strictSame(full.addresses, ["fd00::1", "10.0.0.1"], "canonical, once each");
  const bare = parseAnnouncement({ instanceId: "x", epoch: 0, addresses: ["::1"] }, ORDERS).lease;
  for (const lease of [full, bare]) {
    t.equal(formatLease(parseLease(formatLease(lease))), formatLease(lease));
    t.strictSame(parseLease(formatLease(lease)), lease);
  }
});

t.test("each field has its bounds, and the refusal names the field", async (t) => {
  const cases: readonly [string, Record<string, unknown>][] = [
    ["instanceId", { instanceId: "" }],
    ["instanceId", { instanceId: "a/b" }],
    ["instanceId", { instanceId: "x".repeat(129) }],
    ["instanceId", { instanceId: "__proto__" }],
    ["instanceId", { instanceId: 7 }],
    ["epoch", { epoch: -1 }],
    ["epoch", { epoch: 1.5 }],
    ["epoch", { epoch: 2 ** 60 }],
    ["epoch", { epoch: "1" }],
    ["services", { services: ["Orders"] }],
    ["services", { services: ["a.b"] }],
    ["services", { services: ["x".repeat(64)] }],
    ["services", { services: [null] }],
    ["services", { services: Array.from({ length: 33 }, (_, n) => `s${n}`) }],
    ["services", { services: "orders" }],
    ["addresses", { addresses: [] }],
    ["addresses", { addresses: ["localhost"] }],
    ["addresses", { addresses: ["10.0.0.256"] }],
    ["addresses", { addresses: ["0.0.0.0"] }],
    ["addresses", { addresses: ["::"] }],
    ["addresses", { addresses: ["10.0.0.1/8"] }],
    ["addresses", { addresses: Array.from({ length: 9 }, (_, n) => `10.0.0.${n}`) }],
    ["ports", { ports: [{ number: 0 }] }],
    ["ports", { ports: [{ number: 65_536 }] }],
    ["ports", { ports: [{ number: 80 }, { number: 80 }] }],
    ["ports", { ports: [{ number: 80, protocol: "quic" }] }],
    ["ports", { ports: [{ number: 80, name: "a b" }] }],
    ["ports", { ports: [null] }],
    ["ports", { ports: Array.from({ length: 65 }, (_, n) => ({ number: n + 1 })) }],
    ["inboundPort", { inboundPort: 65_536 }],
    ["version", { version: "x".repeat(65) }],
    ["version", { version: "a\nb" }],
    ["channel", { channel: {} }],
    ["state", { state: "gone" }],
    ["messageCertificate", { messageCertificate: Buffer.alloc(4097) }],
    ["messageCertificate", { messageCertificate: 5 }],
    ["load", { load: { rps: Number.NaN } }],
    ["load", { load: { rps: -1 } }],
    ["load", { load: { errorRatio: 1.1 } }],
    ["load.requests", { load: { requests: -1 } }],
    ["load", { load: [] }],
  ];
  for (const [field, changes] of cases) {
    t.throws(
      () => parseAnnouncement({ ...heartbeatOf(), ...changes }, ORDERS),
      { code: "bad_request", message: new RegExp(`^${field}`) },
      JSON.stringify(changes).slice(0, 60),
    );
  }
  for (const message of [null, undefined, 1, "x", [], () => {}])
    t.throws(() => parseAnnouncement(message, ORDERS), { code: "bad_request" });
});

/** xorshift32: the same corpus at every run. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

const NASTY: readonly unknown[] = [
  null,
  undefined,
  "",
  "__proto__",
  "constructor",
  "\u0000",
  "x".repeat(5000),
  -1,
  0,
  1e308,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  2 ** 53,
  true,
  [],
  {},
  [[]],
  [{}],
  ["__proto__"],
  { length: 3 },
  { __proto__: { polluted: true } },
  JSON.parse('{"__proto__":{"polluted":true}}'),
  Buffer.alloc(10),
  Symbol.iterator,
  10n,
  "::1",
  "127.0.0.1",
  "orders",
];

t.test("10000 mutated announcements give a lease within bounds or a plain refusal, nothing else", async (t) => {
  const random = seeded(20_261_121);
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T;
  let accepted = 0;
  for (let round = 0; round < 10_000; round += 1) {
    const message: Record<string, unknown> = { ...heartbeatOf() };
    const fields = Object.keys(message);
    for (let n = 0; n <= random() * 3; n += 1) message[pick(fields)] = pick(NASTY);
    try {
      const { lease } = parseAnnouncement(message, ORDERS);
      accepted += 1;
      if (formatLease(lease).length > 20_000 || lease.identity !== ORDERS) t.fail(`out of bounds: ${formatLease(lease).slice(0, 200)}`);
    } catch (error) {
      if (!(error instanceof RegistryError) || error.code !== "bad_request" || error.message.length > 400) t.fail(String(error));
    }
  }
  t.ok(accepted > 100, `${accepted} were still good`);
  t.equal(({} as Record<string, unknown>)["polluted"], undefined);
});

t.test("garbage in every field over the wire is refused; the registry goes on", async (t) => {
  const server = await startRegistryServer();
  t.teardown(() => server.close());
  const client = createTestClient(server, server.ca.leaf("default/orders"));
  t.teardown(() => client.close());
  const random = seeded(7);
  for (let round = 0; round < 40; round += 1) {
    const stream = client.heartbeat();
    const bytes = Buffer.from(Array.from({ length: Math.floor(random() * 300) }, () => Math.floor(random() * 256)));
    stream.send(heartbeatOf({ instanceId: bytes.toString("latin1"), services: [bytes.toString("utf8")], messageCertificate: bytes }));
    t.match(await stream.next(), { accepted: false, reason: "bad_request" });
    stream.call.cancel();
  }
  const good = client.heartbeat();
  good.send(heartbeatOf());
  t.match(await good.next(), { accepted: true });
  t.equal(server.store.leases.size, 1);
});

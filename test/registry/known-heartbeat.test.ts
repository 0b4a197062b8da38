// A heartbeat that says the same as the last is recognised by its octets. Decoding both is the judge: recognised means equal but for the load.
import t from "tap";
import { heartbeatRequest } from "../../core/wire/registry-messages.ts";
import { parseAnnouncement } from "../../registry/announcement.ts";
import { KnownHeartbeat } from "../../registry/known-heartbeat.ts";
import { createSeededRandom } from "../support/seeded-random.ts";
import { createThrowawayCa } from "../support/throwaway-ca.ts";
import { heartbeatOf } from "./harness.ts";

const identity = createThrowawayCa().id("shop/orders");
const load = { inFlight: 7, rps: 12.5, p99Ms: 3.25, errorRatio: 0.5, requests: 2 ** 40, errors: 3, refused: 0 };
const bytes = heartbeatRequest.encode(heartbeatOf());
const { lease } = parseAnnouncement(heartbeatRequest.decode(bytes), identity);

function known(of = bytes): KnownHeartbeat {
  const found = KnownHeartbeat.of(of, lease);
  if (found === null) throw new Error("the heartbeat has one load");
  return found;
}

t.test("another load is read, wherever the message stands in what was received", async (t) => {
  const next = heartbeatRequest.encode(heartbeatOf({ load }));
  t.same(known().loadOf(next, 0, next.length), load);
  const amid = Buffer.concat([Buffer.alloc(9, 1), next, Buffer.alloc(9, 1)]);
  t.same(known().loadOf(amid, 9, 9 + next.length), load);
  t.equal(known().loadOf(amid, 9, 10 + next.length), null);
});

t.test("whatever else changes is read whole", async (t) => {
  const changes = [
    { state: "INSTANCE_STATE_DRAINING" },
    { leaving: true },
    { epoch: 1001 },
    { instanceId: "orders-2" },
    { addresses: ["127.0.0.2"] },
    { messageCertificate: Buffer.from("message certificatf") },
    { certExpiresAtMs: 1 },
    { load: null },
    { services: ["orders", "web"] },
  ] as const;
  for (const change of changes) {
    const next = heartbeatRequest.encode(heartbeatOf(change as Parameters<typeof heartbeatOf>[0]));
    t.equal(known().loadOf(next, 0, next.length), null, JSON.stringify(change));
  }
});

t.test("a load that no announcement may carry is read whole, to be refused", async (t) => {
  for (const wrong of [
    { ...load, errorRatio: 2 },
    { ...load, rps: Number.NaN },
    { ...load, p99Ms: -1 },
  ]) {
    const next = heartbeatRequest.encode(heartbeatOf({ load: wrong }));
    t.equal(known().loadOf(next, 0, next.length), null);
  }
});

t.test("a message without a load, or with two, is never known", async (t) => {
  t.equal(KnownHeartbeat.of(heartbeatRequest.encode(heartbeatOf({ load: null })), lease), null);
  t.equal(KnownHeartbeat.of(Buffer.concat([bytes, Buffer.of(0x5a, 0)]), lease), null);
  t.equal(KnownHeartbeat.of(Buffer.concat([bytes, Buffer.of(0x5a)]), lease), null, "cut short");
  t.equal(KnownHeartbeat.of(Buffer.alloc(0), lease), null);
});

t.test("no changed octet makes another message look the same", async (t) => {
  const random = createSeededRandom(11);
  let recognised = 0;
  for (let round = 0; round < 4000; round += 1) {
    const changed = Buffer.from(bytes);
    for (let count = 1 + random.below(2); count > 0; count -= 1) changed[random.below(changed.length)] = random.below(256);
    const found = known().loadOf(changed, 0, changed.length);
    if (found === null) continue;
    recognised += 1;
    const whole = parseAnnouncement(heartbeatRequest.decode(changed), identity);
    t.same({ ...whole, load: null }, { lease, leaving: false, load: null });
    t.same(whole.load, found);
  }
  t.ok(recognised > 0, `${recognised} of the changes were in the load`);
});

import t from "tap";
import type { WatchUpdate, WireEndpoint } from "../../../core/wire/registry.ts";
import type { DestinationsOptions } from "../../../sidecar/discovery/destinations.ts";
import { createDestinations } from "../../../sidecar/discovery/destinations.ts";
import type { Destination, DestinationView } from "../../../sidecar/discovery/discovery.ts";
import { destinationKey } from "../../../sidecar/discovery/discovery.ts";
import { formatSnapshot, parseSnapshot } from "../../../sidecar/discovery/snapshot-format.ts";
import { parseSpiffeId } from "../../../core/spiffe.ts";
import { createFakeClock } from "../../support/fake-clock.ts";

const WEB = parseSpiffeId("spiffe://cluster.local/ns/default/sa/web");
const ORDERS: Destination = { kind: "service", name: "orders", port: 80 };
const KEY = destinationKey(ORDERS);

function wire(n: number, changes: Partial<WireEndpoint> = {}): WireEndpoint {
  return {
    instanceId: `orders-${n}`,
    identity: "spiffe://cluster.local/ns/default/sa/orders",
    address: `10.0.0.${n}`,
    port: 8080,
    inboundPort: 0,
    protocol: "PROTOCOL_GRPC",
    messageCertificate: Buffer.from([n]),
    version: "1",
    state: "INSTANCE_STATE_READY",
    ...changes,
  };
}

function update(changes: Partial<WatchUpdate> = {}): WatchUpdate {
  return {
    key: KEY,
    version: 1,
    found: true,
    full: true,
    upserts: [wire(1), wire(2)],
    removed: [],
    service: "default/orders",
    protocol: "PROTOCOL_GRPC",
    ...changes,
  };
}

function start(changes: Partial<DestinationsOptions> = {}) {
  const clock = createFakeClock();
  const asked: string[] = [];
  const unasked: string[] = [];
  const destinations = createDestinations({
    clock,
    lookupTimeoutMs: 1000,
    maxDestinations: 1000,
    remembered: [],
    ask: (destination, version) => asked.push(`${destinationKey(destination)} ${version}`),
    unask: (destination) => unasked.push(destinationKey(destination)),
    changed: () => {},
    ...changes,
  });
  const answers: (DestinationView | null)[] = [];
  const lookup = (destination: Destination = ORDERS) => destinations.lookup(destination, (view) => answers.push(view));
  const seen = () => destinations.peek(KEY)?.endpoints.map(({ instanceId }) => instanceId) ?? null;
  return { clock, asked, unasked, destinations, answers, lookup, seen };
}

t.test("many who ask for the same wait for one question", async (t) => {
  const { asked, destinations, answers, lookup } = start();
  for (let n = 0; n < 100; n += 1) lookup();
  t.strictSame(asked, [`${KEY} 0`]);
  t.equal(answers.length, 0);
  destinations.apply(update());
  t.equal(answers.length, 100);
  t.ok(answers.every((view) => view !== null && view === answers[0]));
  t.ok(Object.isFrozen(answers[0]) && Object.isFrozen(answers[0]?.endpoints));
});

t.test("no answer in time is no view, for those who wait and those who come later, until one comes", async (t) => {
  const { clock, destinations, answers, lookup } = start();
  lookup();
  clock.advance(999);
  t.equal(answers.length, 0);
  clock.advance(1);
  t.strictSame(answers, [null]);
  lookup();
  t.strictSame(answers, [null, null], "nobody waits twice");
  destinations.apply(update());
  lookup();
  t.equal(answers[2]?.endpoints.length, 2);
});

t.test("deltas add, replace and remove; what makes no sense is left out", async (t) => {
  const { destinations, lookup, seen } = start();
  lookup();
  t.notOk(destinations.apply(update({ full: false, version: 7 })), "a delta of an earlier subscription is ignored");
  destinations.apply(update());
  destinations.apply(update({ version: 2, full: false, upserts: [wire(3)], removed: ["orders-1:8080"] }));
  t.strictSame(seen(), ["orders-2", "orders-3"]);
  destinations.apply(update({ version: 3, full: false, upserts: [wire(2, { state: "INSTANCE_STATE_DRAINING" })] }));
  t.strictSame(seen(), ["orders-3"]);
  const before = destinations.peek(KEY);
  destinations.apply(update({ version: 3, full: false, upserts: [] }));
  t.equal(destinations.peek(KEY), before, "unchanged is the same view");
  const nonsense = [
    wire(4, { identity: "nobody" }),
    wire(5, { address: "host" }),
    wire(6, { port: 0 }),
    wire(7, { inboundPort: 99_999 }),
    wire(8, { instanceId: "" }),
  ];
  destinations.apply(update({ version: 4, upserts: [...nonsense, wire(9, { protocol: "PROTOCOL_FUTURE" as "PROTOCOL_TCP" })] }));
  t.strictSame(seen(), ["orders-9"]);
  t.equal(destinations.peek(KEY)?.endpoints[0]?.protocol, "detect");
  destinations.apply(update({ version: 5, found: false, upserts: [] }));
  t.equal(destinations.peek(KEY), null);
  t.notOk(destinations.apply(update({ key: "service/other/0" })));
});

t.test("a refused endpoint comes back after five seconds, or when it is announced anew", async (t) => {
  const { clock, destinations, lookup, seen } = start();
  lookup();
  destinations.apply(update());
  const [one, two] = destinations.peek(KEY)?.endpoints ?? [];
  if (one === undefined || two === undefined) throw new Error("two endpoints");
  destinations.markRefused(one);
  t.strictSame(seen(), ["orders-2"]);
  clock.advance(4999);
  t.strictSame(seen(), ["orders-2"]);
  clock.advance(2);
  t.strictSame(seen(), ["orders-1", "orders-2"]);
  destinations.markRefused(two);
  t.strictSame(seen(), ["orders-1"]);
  destinations.apply(update({ version: 2, full: false, upserts: [wire(2, { version: "2" })] }));
  t.strictSame(seen(), ["orders-1", "orders-2"]);
  destinations.markRefused(one);
  destinations.markRefused(two);
  t.equal(seen()?.length, 2, "never none because of that");
});

t.test("what nobody uses is forgotten after ten minutes, what somebody uses is not", async (t) => {
  const { clock, destinations, lookup, unasked } = start();
  lookup();
  lookup({ kind: "address", address: "10.0.0.9", port: 80 });
  destinations.apply(update());
  for (let minute = 0; minute < 12; minute += 1) {
    clock.advance(60_000);
    destinations.peek(KEY);
  }
  t.strictSame(unasked, ["address/10.0.0.9/80"]);
  t.equal(destinations.size(), 1);
});

t.test("what was remembered is told when the registry is away or late, and its version is asked with", async (t) => {
  const before = start();
  before.lookup();
  before.destinations.apply(update({ version: 77 }));
  const text = formatSnapshot(WEB, before.destinations.found());
  const remembered = parseSnapshot(text, WEB);
  t.equal(formatSnapshot(WEB, remembered), text, "written, read and written again is the same");

  const late = start({ remembered });
  late.lookup();
  t.strictSame(late.answers, [], "the registry is asked first");
  t.strictSame([...late.destinations.watched()], [[ORDERS, 77]]);
  late.clock.advance(1000);
  t.equal(late.answers[0]?.endpoints.length, 2);

  const learning = start({ remembered });
  learning.lookup();
  t.ok(learning.destinations.apply(update({ version: 5, full: false, upserts: [wire(1)] })));
  t.strictSame(learning.seen(), ["orders-1", "orders-2"], "a registry that does not know everybody yet adds to it");
  t.ok(learning.destinations.apply(update({ version: 6, full: false, upserts: [wire(1), wire(3)] })));
  t.ok(learning.destinations.apply(update({ version: 78, upserts: [wire(1), wire(3)] })));
  t.strictSame(learning.seen(), ["orders-1", "orders-3"], "until it does");

  const away = start({ remembered });
  away.lookup();
  away.destinations.unreachable();
  t.equal(away.answers[0]?.endpoints.length, 2, "at once when it cannot be reached");

  const confirmed = start({ remembered });
  confirmed.lookup();
  t.ok(confirmed.destinations.apply(update({ version: 77, full: false, upserts: [] })));
  t.match(
    confirmed.answers[0],
    { version: 77, endpoints: [{ instanceId: "orders-1" }, { instanceId: "orders-2" }] },
    "unchanged: what is on disk is right",
  );
});

import { deserialize, serialize } from "node:v8";
import { setImmediate as turn } from "node:timers/promises";
import t from "tap";
import { parseSpiffeId } from "../../../core/spiffe.ts";
import type { WireEndpoint } from "../../../core/wire/registry.ts";
import { createDestinations } from "../../../sidecar/discovery/destinations.ts";
import { type Destination, type DestinationView, type Discovery, destinationKey } from "../../../sidecar/discovery/discovery.ts";
import { createDestinationFeed, type DestinationFeed } from "../../../sidecar/workers/destination-feed.ts";
import type { FromWorker, ToWorker } from "../../../sidecar/workers/messages.ts";
import { createWorkerDiscovery, type WorkerDiscovery } from "../../../sidecar/workers/worker-discovery.ts";
import { createFakeClock } from "../../support/fake-clock.ts";

const ORDERS: Destination = { kind: "service", name: "orders", port: 80 };
const KEY = destinationKey(ORDERS);
const LOOKUP_TIMEOUT_MS = 1_000;

function wire(n: number, changes: Partial<WireEndpoint> = {}): WireEndpoint {
  return {
    instanceId: `orders-${n}`,
    identity: parseSpiffeId("spiffe://cluster.local/ns/default/sa/orders"),
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

/** The first process's table, and workers at the other end of what a channel does to messages. */
function start(workers = 1, maxDestinations = 1_000) {
  const clock = createFakeClock();
  const asked: string[] = [];
  const feeds: DestinationFeed[] = [];
  const destinations = createDestinations({
    clock,
    lookupTimeoutMs: LOOKUP_TIMEOUT_MS,
    maxDestinations,
    remembered: [],
    ask: (destination) => asked.push(destinationKey(destination)),
    unask: () => {},
    changed: () => {},
    follower: {
      changed: (key, view) => feeds.forEach((feed) => void feed.changed(key, view)),
      forgotten: (key) => feeds.forEach((feed) => void feed.forgotten(key)),
    },
  });
  const discovery = destinations as unknown as Discovery; // the part that a feed uses
  const toWorkers: ToWorker[] = [];
  const all = Array.from({ length: workers }, (): WorkerDiscovery => {
    const worker = createWorkerDiscovery(clock, (message) => {
      const said = deserialize(serialize(message)) as FromWorker;
      if (said.kind === "lookup" || said.kind === "used" || said.kind === "unwatch" || said.kind === "refused") feed.ask(said);
    });
    const feed = createDestinationFeed(discovery, (message) => {
      const told = deserialize(serialize(message)) as ToWorker;
      toWorkers.push(told);
      if (told.kind === "views") worker.takeViews(told.views);
      else if (told.kind === "forget") worker.forget(told.key);
    });
    feeds.push(feed);
    return worker;
  });
  let version = 0;
  function push(endpoints: readonly WireEndpoint[], key = KEY): void {
    version += 1;
    const found = endpoints.length > 0;
    destinations.apply({
      key,
      version,
      found,
      full: true,
      upserts: [...endpoints],
      removed: [],
      service: "default/orders",
      protocol: "PROTOCOL_GRPC",
    });
  }
  const seen = (worker: WorkerDiscovery | undefined) => worker?.peek(KEY)?.endpoints.map(({ instanceId }) => instanceId) ?? null;
  t.teardown(() => destinations.close());
  return { clock, asked, destinations, all, push, seen, toWorkers };
}

function answersOf(worker: WorkerDiscovery | undefined, destination = ORDERS): (DestinationView | null)[] {
  const answers: (DestinationView | null)[] = [];
  worker?.lookup(destination, (view) => answers.push(view));
  return answers;
}

t.test("a worker asks once, and is told what changes", async (t) => {
  const { all, asked, push, seen } = start(2);
  const [first, second] = all;
  const answers = [answersOf(first), answersOf(first), answersOf(second)];
  t.same(asked, [KEY], "the registry is asked once for all");
  t.same(answers, [[], [], []], "all wait");
  push([wire(1), wire(2)]);
  await turn();
  t.same(
    answers.map(([view]) => view?.endpoints.length),
    [2, 2, 2],
  );
  t.equal(answersOf(first).length, 1, "from now on at once");
  t.ok(Buffer.isBuffer(first?.peek(KEY)?.endpoints[0]?.messageCertificate));

  const before = first?.peek(KEY)?.endpoints[0];
  push([wire(1), wire(3)]);
  push([wire(1), wire(2, { version: "2" }), wire(3)]);
  await turn();
  t.same(seen(first), ["orders-1", "orders-2", "orders-3"]);
  t.same(seen(second), seen(first));
  t.equal(first?.peek(KEY)?.endpoints[0], before, "what did not change is the same object: pools hang on it");
  push([]);
  await turn();
  t.equal(seen(first), null);
  t.same(answersOf(first), [null]);
});

t.test("a registry that is silent delays a worker no longer than the first process", async (t) => {
  const { all, clock, push, seen } = start();
  const answers = answersOf(all[0]);
  clock.advance(LOOKUP_TIMEOUT_MS);
  t.same(answers, [null]);
  push([wire(1)]);
  await turn();
  t.same(seen(all[0]), ["orders-1"], "and a late answer still arrives");
});

t.test("an endpoint that refused one worker is left alone by all, for a while", async (t) => {
  const { all, clock, push, seen } = start(2);
  const [first, second] = all;
  answersOf(first);
  answersOf(second);
  push([wire(1), wire(2)]);
  await turn();
  const endpoint = first?.peek(KEY)?.endpoints[0];
  if (endpoint === undefined) throw new Error("no endpoint");
  first?.markRefused(endpoint);
  t.same(seen(first), ["orders-2"], "at once where it was seen");
  await turn();
  t.same(seen(first), ["orders-2"]);
  t.same(seen(second), ["orders-2"], "a moment later elsewhere");
  clock.advance(5_000);
  await turn();
  t.same(
    [seen(first), seen(second)].map((ids) => ids?.length),
    [2, 2],
  );
});

t.test("the last way to a service is never taken away", async (t) => {
  const { all, push, seen } = start();
  answersOf(all[0]);
  push([wire(1)]);
  await turn();
  const endpoint = all[0]?.peek(KEY)?.endpoints[0];
  if (endpoint === undefined) throw new Error("no endpoint");
  all[0]?.markRefused(endpoint);
  t.same(seen(all[0]), ["orders-1"]);
  await turn();
  t.same(seen(all[0]), ["orders-1"]);
});

t.test("what nobody uses is forgotten everywhere, what a worker uses is not", async (t) => {
  const { all, asked, clock, push } = start(1);
  const other: Destination = { kind: "service", name: "payments", port: 80 };
  answersOf(all[0]);
  answersOf(all[0], other);
  push([wire(1)]);
  push([wire(1)], destinationKey(other));
  await turn();
  for (let minute = 0; minute < 15; minute++) {
    answersOf(all[0]);
    clock.advance(60_000);
  }
  t.ok(all[0]?.peek(KEY));
  t.equal(all[0]?.peek(destinationKey(other)), null);
  answersOf(all[0], other);
  t.same(asked, [KEY, destinationKey(other), destinationKey(other)], "and is asked for again");
});

t.test("a destination that is pushed out while it is asked for is answered, and asked for again later", async (t) => {
  const { all, push } = start(1, 1);
  const other: Destination = { kind: "service", name: "payments", port: 80 };
  const first = answersOf(all[0]);
  const second = answersOf(all[0], other); // there is room for one
  t.same(first, [null]);
  push([wire(1)], destinationKey(other));
  t.same(second.length, 1);
  const again = answersOf(all[0]);
  push([wire(1)]);
  await turn();
  t.equal(again.at(-1)?.endpoints.length, 1);
});

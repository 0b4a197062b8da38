import t from "tap";
import { createBalancer } from "../../../sidecar/resilience/balancer.ts";
import { createFakeClock } from "../../support/fake-clock.ts";
import { createSeededRandom } from "../../support/seeded-random.ts";

interface Place {
  readonly id: string;
  readonly generation?: number;
}

const places = (...ids: string[]): Place[] => ids.map((id) => ({ id }));

function balancerOf(ids: readonly string[], seed = 1) {
  const clock = createFakeClock();
  const edges: string[] = [];
  const balancer = createBalancer<Place>({
    clock,
    random: createSeededRandom(seed).next,
    breakerChanged: (place, from, to) => edges.push(`${place.id} ${from.kind}>${to.kind}`),
  });
  balancer.update(places(...ids));
  return { clock, balancer, edges };
}

/** Sends `requests` through, `concurrency` at a time, each taking what `latencyMs` says; returns how many each endpoint got. */
function simulate(
  { balancer, clock }: ReturnType<typeof balancerOf>,
  options: { requests: number; concurrency: number; latencyMs: (id: string, random: () => number) => number; ok?: (id: string) => boolean },
): Record<string, number> {
  const random = createSeededRandom(99).next;
  const shares: Record<string, number> = {};
  const running: { endsAt: number; end: () => void }[] = [];
  for (let sent = 0; sent < options.requests; sent += 1) {
    if (running.length >= options.concurrency) {
      running.sort((a, b) => a.endsAt - b.endsAt);
      const next = running.shift();
      clock.advance(Math.max(0, (next?.endsAt ?? 0) - clock.monoMs()));
      next?.end();
    }
    const pick = balancer.pick();
    if (pick === null) continue;
    const { id } = pick.endpoint;
    shares[id] = (shares[id] ?? 0) + 1;
    pick.start();
    const latencyMs = options.latencyMs(id, random);
    running.push({ endsAt: clock.monoMs() + latencyMs, end: () => pick.done({ ok: options.ok?.(id) ?? true, latencyMs }) });
  }
  for (const request of running) request.end();
  return shares;
}

/** So slow that an endpoint which fails (each failure doubles its estimate) is still preferred: a clock that stands still never forgives. */
const SLOWEST_MS = 1e9;

/** Exponential latencies of a mean. */
const around = (meanMs: number) => (_: string, random: () => number) => -Math.log(1 - random()) * meanMs;

t.test("no endpoints: no pick, and it says so", async (t) => {
  const { balancer } = balancerOf([]);
  t.equal(balancer.pick(), null);
  t.equal(balancer.refusal(), "no_endpoints");
});

t.test("equal endpoints get equal shares", async (t) => {
  const setup = balancerOf(["a", "b", "c", "d"]);
  const shares = simulate(setup, { requests: 20_000, concurrency: 32, latencyMs: around(5) });
  for (const id of ["a", "b", "c", "d"]) t.ok((shares[id] ?? 0) > 3_500 && (shares[id] ?? 0) < 6_500, `${id}: ${shares[id]}`);
});

t.test("a slow endpoint's share falls", async (t) => {
  const setup = balancerOf(["a", "b", "slow", "d"]);
  const shares = simulate(setup, {
    requests: 20_000,
    concurrency: 32,
    latencyMs: (id, random) => around(id === "slow" ? 100 : 5)(id, random),
  });
  t.ok((shares["slow"] ?? 0) < 600, `slow: ${shares["slow"]}`);
  t.ok((shares["slow"] ?? 0) > 0, "it is still asked now and then");
});

t.test("an endpoint that was slow gets its share back", async (t) => {
  const setup = balancerOf(["a", "b"]);
  simulate(setup, { requests: 2_000, concurrency: 8, latencyMs: (id, random) => around(id === "b" ? 200 : 5)(id, random) });
  setup.clock.advance(60_000);
  const shares = simulate(setup, { requests: 20_000, concurrency: 8, latencyMs: around(5) });
  t.ok((shares["b"] ?? 0) > 6_000, `b: ${shares["b"]}`);
});

t.test("a newcomer is asked soon and not flooded", async (t) => {
  const setup = balancerOf(["a", "b", "c"]);
  simulate(setup, { requests: 1_000, concurrency: 8, latencyMs: around(5) });
  setup.balancer.update(places("a", "b", "c", "new"));
  let first = -1;
  let inFlight = 0;
  for (let request = 0; request < 60; request += 1) {
    const pick = setup.balancer.pick();
    pick?.start();
    if (pick?.endpoint.id === "new") {
      if (first < 0) first = request;
      inFlight += 1;
    } else pick?.done({ ok: true, latencyMs: 5 });
  }
  t.ok(first >= 0 && first < 10, `asked at request ${first}`);
  t.ok(inFlight <= 2, `${inFlight} at once while it has not answered`);
});

t.test("an endpoint that fails at once does not look like the fastest", async (t) => {
  const setup = balancerOf(["a", "b", "c", "d"]);
  simulate(setup, { requests: 100, concurrency: 8, latencyMs: around(5) });
  const shares = simulate(setup, {
    requests: 2_000,
    concurrency: 8,
    latencyMs: (id, random) => (id === "d" ? 0.1 : around(5)(id, random)),
    ok: (id) => id !== "d",
  });
  t.ok((shares["d"] ?? 0) < 100, `d: ${shares["d"]}`);
});

t.test("what is known of an endpoint survives updates; a new object replaces the old one", async (t) => {
  const { balancer, edges } = balancerOf(["a", "b"]);
  for (let round = 0; round < 100 && edges.length === 0; round += 1) {
    const pick = balancer.pick();
    pick?.start();
    pick?.done(pick.endpoint.id === "a" ? { ok: false, latencyMs: 1 } : { ok: true, latencyMs: SLOWEST_MS });
    balancer.update([
      { id: "a", generation: round },
      { id: "b", generation: round },
    ]);
  }
  t.strictSame(edges, ["a closed>open"], "failures were counted across updates");
  const generations = new Set(Array.from({ length: 20 }, () => balancer.pick()?.endpoint.generation));
  t.equal(generations.size, 1);
  t.not([...generations][0], undefined);
});

t.test("an endpoint that comes back within a minute is remembered, also that it is left alone", async (t) => {
  const setup = balancerOf(["a", "b"]);
  breakDown(setup, ["a"]);
  setup.balancer.update(places("b"));
  setup.clock.advance(200);
  setup.balancer.update(places("a", "b"));
  t.strictSame(setup.balancer.counts(), { endpoints: 2, out: 1 }, "its breaker is still open");
  setup.balancer.update(places("b"));
  setup.clock.advance(60_000);
  setup.balancer.update(places("a", "b"));
  t.strictSame(setup.balancer.counts(), { endpoints: 2, out: 0 }, "after a minute it is a new one");
});

t.test("of many endpoints that left, those that left last are remembered", async (t) => {
  const setup = balancerOf(["a", "b"]);
  breakDown(setup, ["a"]);
  setup.balancer.update(places("b"));
  for (let round = 0; round < 3; round += 1) {
    setup.balancer.update(places("b", ...Array.from({ length: 200 }, (_, index) => `${round}-${index}`)));
  }
  setup.balancer.update(places("b"));
  setup.balancer.update(places("a", "b"));
  t.strictSame(setup.balancer.counts(), { endpoints: 2, out: 0 });
});

t.test("an endpoint that left is picked no more, and its late answers do no harm", async (t) => {
  const { balancer } = balancerOf(["a", "b"]);
  const held = Array.from({ length: 20 }, () => balancer.pick());
  for (const pick of held) pick?.start();
  balancer.update(places("b"));
  for (const pick of held) pick?.done({ ok: false, latencyMs: 1 });
  for (let round = 0; round < 50; round += 1) t.equal(balancer.pick()?.endpoint.id, "b");
  balancer.update([]);
  t.equal(balancer.pick(), null);
  t.equal(balancer.refusal(), "no_endpoints");
});

t.test("a second attempt avoids the endpoint of the first", async (t) => {
  const { balancer } = balancerOf(["a", "b", "c"]);
  for (let round = 0; round < 200; round += 1) t.not(balancer.pick("b")?.endpoint.id, "b");
  balancer.update(places("b"));
  t.equal(balancer.pick("b")?.endpoint.id, "b", "unless it is the only one");
});

t.test("seven failures in a row take an endpoint out, a success in between does not", async (t) => {
  const { balancer, edges } = balancerOf(["a", "b"]);
  /** Ends requests until `times` of them went to `id`; all others succeed slowly, so that `id` keeps being drawn. */
  const fail = (id: string, times: number, ok = false) => {
    for (let left = times, round = 0; left > 0 && round < 1_000; round += 1) {
      const pick = balancer.pick();
      pick?.start();
      if (pick?.endpoint.id === id) {
        pick.done({ ok, latencyMs: 1 });
        left -= 1;
      } else pick?.done({ ok: true, latencyMs: SLOWEST_MS });
    }
  };
  fail("a", 6);
  fail("a", 1, true);
  fail("a", 6);
  t.strictSame(edges, []);
  fail("a", 1);
  t.strictSame(edges, ["a closed>open"]);
  t.strictSame(balancer.counts(), { endpoints: 2, out: 1 });
  for (let round = 0; round < 50; round += 1) t.equal(balancer.pick()?.endpoint.id, "b");
});

/** Fails each endpoint of `ids` until its breaker opens or it failed `limit` times. */
function breakDown({ balancer }: ReturnType<typeof balancerOf>, ids: readonly string[], limit = 400): void {
  for (let round = 0; round < limit; round += 1) {
    const pick = balancer.pick();
    pick?.start();
    pick?.done(pick !== null && ids.includes(pick.endpoint.id) ? { ok: false, latencyMs: 1 } : { ok: true, latencyMs: SLOWEST_MS });
  }
}

t.test("never more than half of the endpoints are out", async (t) => {
  for (const [count, most] of [
    [1, 0],
    [2, 1],
    [3, 1],
    [4, 2],
    [5, 2],
  ] as const) {
    const ids = Array.from({ length: count }, (_, index) => `e${index}`);
    const setup = balancerOf(ids);
    breakDown(setup, ids, 500);
    t.equal(setup.balancer.counts().out, most, `${count} endpoints`);
    t.ok(setup.balancer.pick(), "and something is still asked");
  }
});

t.test("after its time a single probe decides; a failed one doubles the time", async (t) => {
  const setup = balancerOf(["a", "b"]);
  const { balancer, clock, edges } = setup;
  breakDown(setup, ["a"]);
  t.equal(edges.pop(), "a closed>open");
  for (let doubling = 0; doubling < 8; doubling += 1) {
    const longestMs = Math.min(60_000, 1_000 * 2 ** doubling);
    clock.advance(longestMs * 0.8 - 1);
    t.equal(balancer.pick()?.endpoint.id, "b", "not before 80 % of the backoff");
    clock.advance(longestMs * 0.2 + 1);
    const probe = balancer.pick();
    t.equal(probe?.endpoint.id, "a", "the probe goes first");
    probe?.start();
    t.equal(balancer.pick()?.endpoint.id, "b", "one at a time");
    probe?.done({ ok: false, latencyMs: 1 });
  }
  clock.advance(60_000);
  const probe = balancer.pick();
  probe?.start();
  probe?.done({ ok: true, latencyMs: 1 });
  t.equal(edges.at(-1), "a half_open>closed");
  const shares = simulate(setup, { requests: 2_000, concurrency: 8, latencyMs: around(2) });
  t.ok((shares["a"] ?? 0) > 500, `a is back with ${shares["a"]}`);
  breakDown(setup, ["a"]);
  clock.advance(1_000);
  t.equal(balancer.pick()?.endpoint.id, "a", "the backoff starts from the beginning");
});

t.test("a probe that says nothing may be sent again", async (t) => {
  const setup = balancerOf(["a", "b"]);
  breakDown(setup, ["a"]);
  setup.clock.advance(1_000);
  const probe = setup.balancer.pick();
  probe?.start();
  probe?.done(null);
  t.equal(setup.balancer.pick()?.endpoint.id, "a");
});

t.test("answers from before it opened do not close it", async (t) => {
  const setup = balancerOf(["a", "b"]);
  simulate(setup, { requests: 20, concurrency: 2, latencyMs: around(5) });
  let early = setup.balancer.pick();
  for (let round = 0; round < 100 && early?.endpoint.id !== "a"; round += 1) early = setup.balancer.pick();
  early?.start();
  breakDown(setup, ["a"]);
  setup.clock.advance(1_000);
  const probe = setup.balancer.pick();
  probe?.start();
  early?.done({ ok: true, latencyMs: 1 });
  t.equal(setup.balancer.counts().out, 1);
  probe?.done({ ok: true, latencyMs: 1 });
  t.equal(setup.balancer.counts().out, 0);
});

t.test("when the healthy ones leave, the rest is probed instead of given up", async (t) => {
  const setup = balancerOf(["a", "b", "c", "d"]);
  breakDown(setup, ["a", "b"]);
  t.strictSame(setup.balancer.counts(), { endpoints: 4, out: 2 });
  setup.balancer.update(places("a", "b"));
  const first = setup.balancer.pick();
  t.ok(first, "one of the two is probed at once");
  first?.start();
  t.equal(setup.balancer.pick(), null);
  t.equal(setup.balancer.refusal(), "circuit_open");
  first?.done({ ok: true, latencyMs: 1 });
  t.ok(setup.balancer.pick());
});

t.test("done counts once and only after start", async (t) => {
  const { balancer, edges } = balancerOf(["a", "b"]);
  for (let round = 0; round < 100; round += 1) balancer.pick()?.done({ ok: false, latencyMs: 1 });
  const pick = balancer.pick();
  pick?.start();
  pick?.start();
  for (let round = 0; round < 100; round += 1) pick?.done({ ok: false, latencyMs: 1 });
  t.strictSame(edges, []);
});

import t from "tap";
import { OpaqueCharge } from "../../sidecar/opaque-charge.ts";
import { createBalancer } from "../../sidecar/resilience/balancer.ts";
import { DEFAULT_BREAKER } from "../../sidecar/resilience/breaker.ts";
import type { RelayEnd } from "../../sidecar/transport/relay.ts";
import { createFakeClock } from "../support/fake-clock.ts";

const CONNECT_TIMEOUT_MS = 1_000;
const BROKEN: RelayEnd = { bytesForward: 5, bytesBack: 0, cause: "reset", brokenBy: "b", endedForward: false };

/** Two endpoints, of which one is left alone until its time is over. */
function withOneOut() {
  const clock = createFakeClock();
  const balancer = createBalancer({ clock, random: () => 0 });
  balancer.update([{ id: "a" }, { id: "b" }]);
  const charge = () => {
    const pick = balancer.pick();
    if (pick === null) throw new Error("nobody to pick");
    return new OpaqueCharge(pick, clock, CONNECT_TIMEOUT_MS);
  };
  while (balancer.counts().out === 0) {
    const broken = charge();
    broken.opened();
    broken.over(BROKEN);
  }
  clock.advance(DEFAULT_BREAKER.minBackoffMs);
  return { clock, balancer, charge };
}

t.test("a probe is over with its first byte, though the connection stays open", async (t) => {
  const { balancer, charge } = withOneOut();
  const probe = charge();
  probe.opened();
  t.equal(balancer.counts().out, 1, "standing is not enough: its peer may not reach the app");
  probe.answered();
  t.equal(balancer.counts().out, 0);
});

t.test("a probe that stands without a word is over when its peer would have known that the app is not reached", async (t) => {
  const { clock, balancer, charge } = withOneOut();
  charge().opened();
  clock.advance(CONNECT_TIMEOUT_MS);
  t.equal(balancer.counts().out, 1);
  clock.advance(CONNECT_TIMEOUT_MS);
  t.equal(balancer.counts().out, 0);
});

t.test("a probe that says nothing is sent again; one that is broken off leaves the endpoint alone", async (t) => {
  const { clock, balancer, charge } = withOneOut();
  const first = charge();
  first.opened();
  first.over({ ...BROKEN, brokenBy: "a" });
  t.equal(balancer.counts().out, 1);
  const second = charge();
  second.opened();
  second.over(BROKEN);
  clock.advance(DEFAULT_BREAKER.minBackoffMs);
  t.equal(balancer.counts().out, 1, "for twice the time");
});

t.test("what ends before its time leaves no timer", async (t) => {
  const { clock, charge } = withOneOut();
  for (const end of [BROKEN, { ...BROKEN, cause: "closed", brokenBy: null } as const]) {
    const one = charge();
    one.opened();
    one.over(end);
  }
  const answered = charge();
  answered.opened();
  answered.answered();
  t.equal(clock.armed, 0);
});

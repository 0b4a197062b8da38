// Twin of sidecar/resilience/balancer.ts.
import { systemClock } from "../../core/clock.ts";
import { createBalancer } from "../../sidecar/resilience/balancer.ts";
import type { Cases } from "./measure.ts";

function balancerOf(count: number) {
  const balancer = createBalancer({ clock: systemClock, random: Math.random });
  const endpoints = Array.from({ length: count }, (_, index) => ({ id: `endpoint-${index}` }));
  balancer.update(endpoints);
  return { balancer, endpoints };
}

/** A request's pick, start and done with few and many endpoints; an update of many. */
export function cases(): Cases {
  const [one, three, thousand] = [balancerOf(1), balancerOf(3), balancerOf(1_000)];
  const outcome = { ok: true, latencyMs: 1 };
  const call = ({ balancer }: ReturnType<typeof balancerOf>) => {
    const pick = balancer.pick();
    pick?.start();
    pick?.done(outcome);
    return pick;
  };
  return {
    "one endpoint": () => call(one),
    "three endpoints": () => call(three),
    "1000 endpoints": () => call(thousand),
    "update of 1000": () => thousand.balancer.update(thousand.endpoints),
  };
}

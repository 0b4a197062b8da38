// Twin of sidecar/policy/rate-limit.ts.
import { systemClock } from "../../core/clock.ts";
import { createRateLimiter, parseRateLimits } from "../../sidecar/policy/rate-limit.ts";
import type { Cases } from "./measure.ts";

const request = { identity: "spiffe://cluster.local/ns/shop/sa/web", ip: "10.0.0.1", path: "/api/orders?id=7", method: "GET" };
const limiter = (text: string) => createRateLimiter({ rules: parseRateLimits(text), clock: systemClock });

/** One rule, three rules, a refusal with its fields, a path with parameters, a new key at a full table for each call. */
export function cases(): Cases {
  const [none, one, three] = [
    limiter(""),
    limiter("1000000000/s per=identity"),
    limiter("1000000000/s; 1000000000/s per=ip; 1000000000/s per=identity path=/api/"),
  ];
  const refusing = limiter("1/d");
  refusing.check(request);
  const parametrised = { ...request, path: "/api;v=1/orders" };
  let next = 0;
  return {
    "no rules": () => none.check(request),
    "one rule per identity": () => one.check(request),
    "three rules": () => three.check(request),
    "three rules, path parameters": () => three.check(parametrised),
    refused: () => refusing.check(request),
    "new key each time": () => one.check({ ...request, identity: `caller-${next++}` }),
  };
}

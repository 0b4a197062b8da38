// How often a heartbeat tries again, on a clock that the test owns; what it says over a real registry is in discovery.test.ts.
import { EventEmitter } from "node:events";
import type { ClientDuplexStream } from "@grpc/grpc-js";
import t from "tap";
import { silentLogger } from "../../../core/log.ts";
import { createMetrics } from "../../../core/metrics.ts";
import type { HeartbeatRequest, HeartbeatResponse } from "../../../core/wire/registry.ts";
import { startHeartbeat } from "../../../sidecar/discovery/heartbeat.ts";
import { createFakeClock } from "../../support/fake-clock.ts";

type Call = ClientDuplexStream<HeartbeatRequest, HeartbeatResponse>;

/** A heartbeat of which each call is kept for the test to answer or to end. */
function start(t: { teardown(run: () => unknown): void }) {
  const clock = createFakeClock();
  const calls: EventEmitter[] = [];
  const leases: number[] = [];
  const heartbeat = startHeartbeat({
    open() {
      const call = Object.assign(new EventEmitter(), { write: () => true, end: () => {}, cancel: () => {} });
      calls.push(call);
      return call as unknown as Call; // the part of it that is used
    },
    self: { instanceId: "a", epoch: 1, services: [], addresses: [], ports: [], inboundPort: 0, version: "", channel: "" },
    load: () => ({ inFlight: 0, rps: 0, p99Ms: 0, errorRatio: 0, requests: 0, errors: 0, refused: 0 }),
    credentials: () => ({ expiresAtMs: 0, messageCertificate: Buffer.alloc(0) }),
    trust: () => ({ issuedByRoot: "", trustedRoots: [] }),
    answers: createMetrics({ component: "sidecar", version: "", commit: "" }).counter({ name: "x_total", help: "x", labels: ["outcome"] }),
    onSilent: () => {},
    onLease: (leaseMs) => leases.push(leaseMs),
    clock,
    random: () => 0.99,
    log: silentLogger(),
  });
  t.teardown(() => heartbeat.close());
  const answer = (leaseMs: number) =>
    calls.at(-1)?.emit("data", { accepted: true, reason: "", message: "", nextIntervalMs: 1000, leaseMs, degraded: false });
  /** The longest pause between two tries while nobody is there. */
  async function longestPauseMs(): Promise<number> {
    let longestMs = 0;
    for (let tries = 0; tries < 12; tries += 1) {
      const before = calls.length;
      const fromMs = clock.monoMs();
      calls.at(-1)?.emit("error", new Error("nobody is there"));
      while (calls.length === before && clock.monoMs() - fromMs < 60_000) await clock.advanceAsync(10);
      longestMs = Math.max(longestMs, clock.monoMs() - fromMs);
    }
    return longestMs;
  }
  return { answer, leases, longestPauseMs };
}

t.test("between two tries there is at most a fifth of the lease, so that a registry that comes back hears everybody in time", async (t) => {
  for (const leaseMs of [3000, 1000, 10_000]) {
    const { answer, leases, longestPauseMs } = start(t);
    answer(leaseMs);
    answer(leaseMs);
    t.strictSame(leases, [leaseMs], "told once");
    const pauseMs = await longestPauseMs();
    t.ok(pauseMs <= leaseMs / 5 + 10 && pauseMs > leaseMs / 6, `${pauseMs} ms with leases of ${leaseMs} ms`);
  }
});

t.test("and three seconds, however long leases are", async (t) => {
  const { answer, longestPauseMs } = start(t);
  answer(600_000);
  const pauseMs = await longestPauseMs();
  t.ok(pauseMs <= 3010 && pauseMs > 2500, `${pauseMs} ms`);
});

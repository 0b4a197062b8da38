// What a heartbeat stream does when something fails that no peer can bring about; everything else is in registry.test.ts, over real connections.
import { EventEmitter } from "node:events";
import { status } from "@grpc/grpc-js";
import t from "tap";
import { createMetrics } from "../../core/metrics.ts";
import { parseSpiffeId } from "../../core/spiffe.ts";
import { heartbeatRequest } from "../../core/wire/registry-messages.ts";
import type { TakeBytes } from "../../core/wire/server-call.ts";
import { parseAnnouncement } from "../../registry/announcement.ts";
import { createHeartbeatAnswers, serveHeartbeat } from "../../registry/heartbeat-stream.ts";
import { createMemoryStore } from "../../registry/memory-store.ts";
import { createRegistryMetrics } from "../../registry/registry-metrics.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { heartbeatOf } from "./harness.ts";

t.test("an answer that cannot be given ends the stream, and nothing else", async (t) => {
  const clock = createFakeClock();
  const identity = parseSpiffeId("spiffe://cluster.local/ns/default/sa/orders");
  let take: TakeBytes = () => {};
  const call = Object.assign(new EventEmitter(), {
    takeBytes: (given: TakeBytes) => (take = given),
    pause: () => {},
    resume: () => {},
    end: () => {},
    writeFramed: () => {
      throw new Error("the connection is in no state to be written to");
    },
  });
  const announcement = parseAnnouncement(heartbeatOf(), identity);
  const announce = Object.assign(async () => ({ accepted: true as const, announcement }), {
    again: async () => ({ accepted: true as const, announcement }),
  });
  serveHeartbeat(
    call as unknown as Parameters<typeof serveHeartbeat>[0], // the part of it that is used
    { identity, expiresAtMs: clock.nowMs() + 60_000, remoteAddress: "127.0.0.1" },
    {
      announce,
      store: createMemoryStore({ clock }),
      clock,
      metrics: createRegistryMetrics(createMetrics({ component: "control", version: "", commit: "" })),
      answers: createHeartbeatAnswers(() => ({ nextIntervalMs: 5000, leaseMs: 15_000, degraded: false })),
    },
  );
  const bytes = Buffer.from(heartbeatRequest.encode(heartbeatOf()));
  const ended = new Promise<{ readonly code: number; readonly details: string }>((done) => call.once("error", done));
  take(bytes, 0, bytes.length);
  const { code, details } = await ended;
  t.equal(code, status.INTERNAL);
  t.match(details, /no state to be written to/);
});

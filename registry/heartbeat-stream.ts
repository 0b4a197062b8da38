// The server's end of one sidecar's heartbeat stream (design 8): one answer per message, in order, one message at a time. The end of the stream
// says nothing about the instance: its lease lives on until it expires or until it said that it leaves.
import type { ServerDuplexStream } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import type { Clock } from "../core/clock.ts";
import type { HeartbeatRequest, HeartbeatResponse } from "../core/wire/registry.ts";
import type { Announce } from "./announce.ts";
import type { LeaseStore } from "./lease-store.ts";
import type { Peer } from "./peer.ts";
import type { RegistryMetrics } from "./registry-metrics.ts";

/** Messages that may come at once, and how many more each second; a stream that sends more is ended. */
const BURST = 20;
const PER_SECOND = 4;

/** What every stream shares. */
export interface HeartbeatParts {
  readonly announce: Announce;
  readonly store: LeaseStore;
  readonly clock: Clock;
  readonly metrics: RegistryMetrics;
  readonly heartbeatIntervalMs: number;
  readonly leaseMs: number;
}

/** Serves one stream until either side ends it. */
export function serveHeartbeat(call: ServerDuplexStream<HeartbeatRequest, HeartbeatResponse>, peer: Peer, parts: HeartbeatParts): void {
  const { announce, store, clock, metrics, heartbeatIntervalMs, leaseMs } = parts;
  let instanceId: string | null = null;
  let tokens = BURST;
  let filledMonoMs = clock.monoMs();

  function mayCome(): boolean {
    const now = clock.monoMs();
    tokens = Math.min(BURST, tokens + ((now - filledMonoMs) / 1000) * PER_SECOND);
    filledMonoMs = now;
    if (tokens < 1) return false;
    tokens -= 1;
    return true;
  }

  function end(code: status, reason: string, details: string): void {
    metrics.refused.inc({ reason });
    call.emit("error", { code, details });
  }

  async function answer(message: HeartbeatRequest): Promise<void> {
    const answered = await announce(message, { identity: peer.identity, remoteAddress: peer.remoteAddress, instanceId });
    if (call.cancelled || call.destroyed || call.writableEnded) return;
    if (answered.accepted) instanceId = answered.announcement.lease.instanceId;
    call.write({
      accepted: answered.accepted,
      reason: answered.accepted ? "" : answered.reason,
      message: answered.accepted ? "" : answered.message,
      nextIntervalMs: heartbeatIntervalMs,
      leaseMs,
      degraded: store.status().status === "degraded",
    });
    call.resume();
  }

  call.on("data", (message: HeartbeatRequest) => {
    // Fails closed: a certificate that ended while the stream was open proves nothing any more.
    if (clock.nowMs() >= peer.expiresAtMs) return end(status.UNAUTHENTICATED, "unauthenticated", "the client certificate has expired");
    if (!mayCome())
      return end(status.RESOURCE_EXHAUSTED, "rate_limited", `more than ${BURST} heartbeats at once and ${PER_SECOND} a second`);
    call.pause();
    void answer(message);
  });
  call.on("end", () => call.end());
}

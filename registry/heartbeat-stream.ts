// The server's end of one sidecar's heartbeat stream (design 8): one answer per message, in order, one message at a time. The end of the stream
// says nothing about the instance: its lease lives on until it expires or until it said that it leaves.
import { status } from "@grpc/grpc-js";
import type { Clock } from "../core/clock.ts";
import type { HeartbeatRequest, HeartbeatResponse } from "../core/wire/registry.ts";
import { heartbeatRequest, heartbeatResponse } from "../core/wire/registry-messages.ts";
import { type BidiCall, framed } from "../core/wire/server-call.ts";
import type { Announce, AnnounceAnswer } from "./announce.ts";
import { KnownHeartbeat } from "./known-heartbeat.ts";
import { formatLease, type Lease } from "./lease.ts";
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
  readonly answers: HeartbeatAnswers;
}

/** What is said back. */
export interface HeartbeatAnswers {
  /** The encoded answer. */
  of(answer: AnnounceAnswer): Buffer;
}

/** Nearly all sidecars get the same answer for minutes: it is encoded once. */
export function createHeartbeatAnswers(terms: () => Pick<HeartbeatResponse, "nextIntervalMs" | "leaseMs" | "degraded">): HeartbeatAnswers {
  let accepted: { readonly key: string; readonly bytes: Buffer } | null = null;
  return {
    of(answer) {
      const { nextIntervalMs, leaseMs, degraded } = terms();
      if (!answer.accepted) {
        const { reason, message } = answer;
        return framed(heartbeatResponse.encode({ accepted: false, reason, message, nextIntervalMs, leaseMs, degraded }));
      }
      const key = `${nextIntervalMs} ${leaseMs} ${degraded}`;
      if (accepted?.key !== key)
        accepted = { key, bytes: framed(heartbeatResponse.encode({ accepted: true, nextIntervalMs, leaseMs, degraded })) };
      return accepted.bytes;
    },
  };
}

/** Serves one stream until either side ends it. */
export function serveHeartbeat(call: BidiCall<HeartbeatRequest, HeartbeatResponse>, peer: Peer, parts: HeartbeatParts): void {
  const stream = new HeartbeatStream(call, peer, parts);
  call.takeBytes((bytes, start, end) => stream.take(bytes, start, end));
  call.on("end", () => call.end());
}

/** An object, not a closure for each of its verbs: there are tens of thousands. */
class HeartbeatStream {
  readonly #call: BidiCall<HeartbeatRequest, HeartbeatResponse>;
  readonly #peer: Peer;
  readonly #parts: HeartbeatParts;
  #instanceId: string | null = null;
  #known: KnownHeartbeat | null = null;
  /** The octets of a heartbeat that is being looked at; null when it says what `#known` says. */
  #last: Buffer | null = null;
  #tokens = BURST;
  #filledMonoMs: number;

  constructor(call: BidiCall<HeartbeatRequest, HeartbeatResponse>, peer: Peer, parts: HeartbeatParts) {
    this.#call = call;
    this.#peer = peer;
    this.#parts = parts;
    this.#filledMonoMs = parts.clock.monoMs();
  }

  take(bytes: Buffer, start: number, end: number): void {
    // Fails closed: a certificate that ended while the stream was open proves nothing any more.
    if (this.#parts.clock.nowMs() >= this.#peer.expiresAtMs)
      return this.#refuse(status.UNAUTHENTICATED, "unauthenticated", "the client certificate has expired");
    if (!this.#mayCome())
      return this.#refuse(status.RESOURCE_EXHAUSTED, "rate_limited", `more than ${BURST} heartbeats at once and ${PER_SECOND} a second`);
    this.#call.pause();
    try {
      this.#answer(this.#hear(bytes, start, end)).catch((error: Error) =>
        this.#refuse(status.INTERNAL, "overloaded", `the heartbeat could not be answered: ${error.message}`),
      );
    } catch (error) {
      this.#refuse(status.INTERNAL, "bad_request", `the message cannot be read: ${(error as Error).message}`);
    }
  }

  #mayCome(): boolean {
    const now = this.#parts.clock.monoMs();
    const tokens = Math.min(BURST, this.#tokens + ((now - this.#filledMonoMs) / 1000) * PER_SECOND);
    this.#filledMonoMs = now;
    this.#tokens = tokens < 1 ? tokens : tokens - 1;
    return tokens >= 1;
  }

  #refuse(code: status, reason: string, details: string): void {
    this.#parts.metrics.refused.inc({ reason });
    this.#call.emit("error", { code, details });
  }

  #hear(bytes: Buffer, start: number, end: number): Promise<AnnounceAnswer> {
    const { announce, store } = this.#parts;
    const announcer = { identity: this.#peer.identity, remoteAddress: this.#peer.remoteAddress, instanceId: this.#instanceId };
    const known = this.#known;
    const load = known?.loadOf(bytes, start, end) ?? null;
    // The store's own object, so that it sees at once that nothing changed; anything else in its place is judged from the start.
    if (known !== null && load !== null && store.leases.get(known.lease.instanceId)?.lease === known.lease)
      return announce.again(known.lease, load, announcer);
    // Copied, for what is decoded are views of it; apart from Node's pool, of which a lease would keep 64 KiB in memory for as long as it lives.
    this.#last = Buffer.allocUnsafeSlow(end - start);
    bytes.copy(this.#last, 0, start, end);
    return announce(heartbeatRequest.decode(this.#last), announcer);
  }

  async #answer(hearing: Promise<AnnounceAnswer>): Promise<void> {
    const answered = await hearing;
    const call = this.#call;
    if (call.cancelled || call.destroyed || call.writableEnded) return;
    if (answered.accepted) this.#remember(answered.announcement.lease);
    call.writeFramed(this.#parts.answers.of(answered));
    call.resume();
  }

  #remember(accepted: Lease): void {
    this.#instanceId = accepted.instanceId;
    const last = this.#last;
    if (last === null) return;
    const held = this.#parts.store.leases.get(accepted.instanceId);
    // A store that is shared may show what was accepted a moment later; until then each heartbeat is read whole.
    const isHeld = held !== undefined && (held.lease === accepted || formatLease(held.lease) === formatLease(accepted));
    this.#known = isHeld ? KnownHeartbeat.of(last, held.lease) : null;
    this.#last = null;
  }
}

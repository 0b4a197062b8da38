// The server's end of one sidecar's watch stream (design 8). Destinations come and go on it; each gets its whole answer first and then what
// changed. A reader that is slow holds up nothing: per destination at most one mark is kept, and it gets what changed since, or the whole answer, when it reads again.
import { status } from "@grpc/grpc-js";
import { RegistryError } from "../core/errors.ts";
import { spiffeParts } from "../core/spiffe.ts";
import type { WatchRequest, WatchUpdate } from "../core/wire/registry.ts";
import type { BidiCall } from "../core/wire/server-call.ts";
import type { Ending, Endings } from "./endings.ts";
import type { Peer } from "./peer.ts";
import type { Question } from "./question.ts";
import { addressQuestion, serviceQuestion } from "./question.ts";
import type { RegistryMetrics } from "./registry-metrics.ts";
import type { UpdateEncoder, UpdateKind } from "./update-encoder.ts";
import type { View } from "./view.ts";
import type { Views, WatchedView } from "./views.ts";

/** Destinations one stream may watch; one more ends it with RESOURCE_EXHAUSTED. */
export const MAX_SUBSCRIPTIONS = 1024;
const MAX_KEY_LENGTH = 512;

/** What every stream shares. */
export interface WatchParts {
  readonly updates: UpdateEncoder;
  readonly endings: Endings;
  readonly metrics: RegistryMetrics;
  readonly clusterDomain: string;
  readonly warmUp: WarmUp;
}

/**
 * A registry that starts empty does not know yet what is there. Until every sidecar had the time to announce itself again, it takes nothing from those who hold an
 * answer, and only adds to it: a restart of the registry must neither cut callers off nor send all of them to the instance that was first to come back.
 */
export interface WarmUp {
  isOver(): boolean;
  /** Calls `run` when it is over; returns how to stop. */
  onOver(run: () => void): () => void;
}

interface Subscription {
  readonly key: string;
  readonly watched: WatchedView;
  /** The version the client was sent on this stream; 0: none. */
  sentVersion: number;
  /** False: the client may hold more than it was sent, an answer from before this stream. */
  isWhole: boolean;
}

/** Serves one stream until either side ends it. */
export function serveWatch(call: BidiCall<WatchRequest, WatchUpdate>, peer: Peer, views: Views, parts: WatchParts): void {
  const stream = new WatchStream(call, peer, views, parts);
  call.on("data", (request) => stream.take(request));
  call.on("drain", () => stream.drain());
  call.on("close", () => stream.finish());
  call.on("end", () => {
    stream.finish();
    call.end();
  });
}

/** An object, not a closure for each of its verbs: there are tens of thousands. */
class WatchStream implements Ending {
  readonly endsAtMs: number;
  readonly #call: BidiCall<WatchRequest, WatchUpdate>;
  readonly #peer: Peer;
  readonly #views: Views;
  readonly #parts: WatchParts;
  readonly #subscriptions = new Map<string, Subscription>();
  /** Those with something to say while the reader is slow; null while it is not. */
  #waiting: Set<Subscription> | null = null;
  #ended = false;
  readonly #stopWarmUp: () => void;

  constructor(call: BidiCall<WatchRequest, WatchUpdate>, peer: Peer, views: Views, parts: WatchParts) {
    this.#call = call;
    this.#peer = peer;
    this.#views = views;
    this.#parts = parts;
    this.endsAtMs = peer.expiresAtMs;
    // Not at the next message: a stream that only listens must end with its certificate as well.
    parts.endings.add(this);
    this.#stopWarmUp = parts.warmUp.isOver() ? nothing : parts.warmUp.onOver(() => this.#tellWhole());
  }

  take(request: WatchRequest): void {
    if (this.#ended) return;
    try {
      this.#handle(request);
    } catch (error) {
      this.#end(error instanceof RegistryError ? error : new RegistryError("bad_request", "the request cannot be read", { cause: error }));
    }
  }

  /** The reader reads again. */
  drain(): void {
    const waiting = this.#waiting;
    this.#waiting = null;
    // Whoever finds the reader slow again waits again, and so do those behind it.
    for (const subscription of waiting ?? []) this.#push(subscription);
  }

  finish(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#parts.endings.remove(this);
    this.#stopWarmUp();
    for (const key of [...this.#subscriptions.keys()]) this.#unsubscribe(key);
  }

  /** The certificate has ended. */
  onEnding(): void {
    this.#end(new RegistryError("unauthenticated", "the client certificate has expired"));
  }

  #tellWhole(): void {
    for (const subscription of this.#subscriptions.values()) {
      if (subscription.isWhole) continue;
      subscription.sentVersion = 0;
      this.#push(subscription);
    }
  }

  #push(subscription: Subscription): void {
    if (this.#ended || this.#call.writableEnded) return;
    if (this.#waiting !== null) {
      this.#waiting.add(subscription);
      return;
    }
    const view = subscription.watched.current;
    if (view.version === subscription.sentVersion) return;
    const { updates, warmUp } = this.#parts;
    if (!subscription.isWhole && !warmUp.isOver()) {
      if (view.resolved.endpoints.length + view.gone.length > 0) this.#send(subscription, view, "additions", updates.additions(view));
      return;
    }
    const change = view.changeSince(subscription.sentVersion);
    if (change === null) this.#send(subscription, view, "full", updates.full(view));
    else this.#send(subscription, view, "delta", updates.delta(view, change));
  }

  #send(subscription: Subscription, view: View, kind: UpdateKind, body: Buffer): void {
    const { metrics, updates } = this.#parts;
    metrics.updates.inc({ kind });
    subscription.sentVersion = view.version;
    subscription.isWhole = kind !== "additions";
    if (!this.#call.writeFramed(updates.head(subscription.key, body), body)) this.#waiting ??= new Set();
  }

  #handle(request: WatchRequest): void {
    const { key } = request;
    if (typeof key !== "string" || key.length === 0 || key.length > MAX_KEY_LENGTH) {
      throw new RegistryError("bad_request", `a key of 1 to ${MAX_KEY_LENGTH} characters is expected`);
    }
    if (request.unsubscribe) {
      this.#unsubscribe(key);
      return;
    }
    if (!this.#subscriptions.has(key) && this.#subscriptions.size >= MAX_SUBSCRIPTIONS) {
      throw new RegistryError("overloaded", `${MAX_SUBSCRIPTIONS} destinations are watched on this stream, that is the most`);
    }
    const { namespace } = spiffeParts(this.#peer.identity);
    this.#subscribe(key, questionOf(request, namespace, this.#parts.clusterDomain), Number(request.knownVersion ?? 0));
  }

  #subscribe(key: string, question: Question, knownVersion: number): void {
    this.#unsubscribe(key);
    const subscription: Subscription = {
      key,
      watched: this.#views.watch(question, () => this.#push(subscription)),
      sentVersion: 0,
      isWhole: knownVersion === 0,
    };
    this.#subscriptions.set(key, subscription);
    this.#parts.metrics.subscriptions.inc();
    const view = subscription.watched.current;
    if (view.version === knownVersion) this.#send(subscription, view, "unchanged", this.#parts.updates.unchanged(view));
    else this.#push(subscription);
  }

  #unsubscribe(key: string): void {
    const subscription = this.#subscriptions.get(key);
    if (subscription === undefined) return;
    subscription.watched.stop();
    this.#subscriptions.delete(key);
    this.#waiting?.delete(subscription);
    this.#parts.metrics.subscriptions.dec();
  }

  #end(error: RegistryError): void {
    this.#parts.metrics.refused.inc({ reason: error.code });
    this.finish();
    const code =
      error.code === "overloaded"
        ? status.RESOURCE_EXHAUSTED
        : error.code === "bad_request"
          ? status.INVALID_ARGUMENT
          : status.UNAUTHENTICATED;
    this.#call.emit("error", { code, details: error.message });
  }
}

const nothing = () => {};

function questionOf(request: WatchRequest, namespace: string, clusterDomain: string): Question {
  const { service, address } = request;
  if (service !== undefined && service !== null) return serviceQuestion(service.name, service.port, namespace, clusterDomain);
  if (address !== undefined && address !== null) return addressQuestion(address.address, address.port);
  throw new RegistryError("bad_request", "a destination is expected: a service or an address");
}

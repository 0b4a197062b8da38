// The server's end of one sidecar's watch stream (design 8). Destinations come and go on it; each gets its whole answer first and then what
// changed. A reader that is slow holds up nothing: per destination at most one mark is kept, and it gets the whole answer when it reads again.
import { status } from "@grpc/grpc-js";
import type { Clock } from "../core/clock.ts";
import { RegistryError } from "../core/errors.ts";
import { spiffeParts } from "../core/spiffe.ts";
import type { WatchRequest, WatchUpdate } from "../core/wire/registry.ts";
import type { BidiCall } from "../core/wire/server-call.ts";
import type { Peer } from "./peer.ts";
import type { Question } from "./question.ts";
import { addressQuestion, serviceQuestion } from "./question.ts";
import type { RegistryMetrics } from "./registry-metrics.ts";
import type { UpdateEncoder, UpdateKind } from "./update-encoder.ts";
import type { View, Views, WatchedView } from "./views.ts";

/** Destinations one stream may watch; one more ends it with RESOURCE_EXHAUSTED. */
export const MAX_SUBSCRIPTIONS = 1024;
const MAX_KEY_LENGTH = 512;

/** What every stream shares. */
export interface WatchParts {
  readonly views: Views;
  readonly updates: UpdateEncoder;
  readonly clock: Clock;
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
export function serveWatch(
  call: BidiCall<WatchRequest, WatchUpdate>,
  peer: Peer,
  { views, updates, clock, metrics, clusterDomain, warmUp }: WatchParts,
): void {
  const { namespace } = spiffeParts(peer.identity);
  const subscriptions = new Map<string, Subscription>();
  /** Those with something to say while the reader is slow. */
  const waiting = new Set<Subscription>();
  let writable = true;
  let ended = false;

  function push(subscription: Subscription): void {
    if (ended || call.writableEnded) return;
    if (!writable) {
      waiting.add(subscription);
      return;
    }
    const view = subscription.watched.current;
    if (view.version === subscription.sentVersion) return;
    if (!subscription.isWhole && !warmUp.isOver()) {
      if (view.resolved.endpoints.length + view.removed.length > 0) send(subscription, view, "additions");
      return;
    }
    // The delta when the client holds the version before, else everything.
    send(subscription, view, view.since === 0 || view.since !== subscription.sentVersion ? "full" : "delta");
  }

  function tellWhole(): void {
    for (const subscription of subscriptions.values()) {
      if (subscription.isWhole) continue;
      subscription.sentVersion = 0;
      push(subscription);
    }
  }

  function send(subscription: Subscription, view: View, kind: UpdateKind): void {
    metrics.updates.inc({ kind });
    subscription.sentVersion = view.version;
    subscription.isWhole = kind !== "additions";
    const body = updates.body(view, kind);
    writable = call.writeFramed(updates.head(subscription.key, body), body);
  }

  function drain(): void {
    writable = true;
    for (const subscription of waiting) {
      if (!writable) return;
      waiting.delete(subscription);
      push(subscription);
    }
  }

  function subscribe(key: string, question: Question, knownVersion: number): void {
    unsubscribe(key);
    const subscription: Subscription = {
      key,
      watched: views.watch(question, () => push(subscription)),
      sentVersion: 0,
      isWhole: knownVersion === 0,
    };
    subscriptions.set(key, subscription);
    metrics.subscriptions.inc();
    const view = subscription.watched.current;
    if (view.version !== knownVersion) {
      push(subscription);
      return;
    }
    send(subscription, view, "unchanged");
  }

  function unsubscribe(key: string): void {
    const subscription = subscriptions.get(key);
    if (subscription === undefined) return;
    subscription.watched.stop();
    subscriptions.delete(key);
    waiting.delete(subscription);
    metrics.subscriptions.dec();
  }

  function handle(request: WatchRequest): void {
    const { key } = request;
    if (typeof key !== "string" || key.length === 0 || key.length > MAX_KEY_LENGTH) {
      throw new RegistryError("bad_request", `a key of 1 to ${MAX_KEY_LENGTH} characters is expected`);
    }
    if (request.unsubscribe) {
      unsubscribe(key);
      return;
    }
    if (!subscriptions.has(key) && subscriptions.size >= MAX_SUBSCRIPTIONS) {
      throw new RegistryError("overloaded", `${MAX_SUBSCRIPTIONS} destinations are watched on this stream, that is the most`);
    }
    subscribe(key, questionOf(request, namespace, clusterDomain), Number(request.knownVersion ?? 0));
  }

  function end(error: RegistryError): void {
    metrics.refused.inc({ reason: error.code });
    finish();
    const code =
      error.code === "overloaded"
        ? status.RESOURCE_EXHAUSTED
        : error.code === "bad_request"
          ? status.INVALID_ARGUMENT
          : status.UNAUTHENTICATED;
    call.emit("error", { code, details: error.message });
  }

  function finish(): void {
    if (ended) return;
    ended = true;
    expiry.cancel();
    stopWarmUp();
    for (const key of [...subscriptions.keys()]) unsubscribe(key);
  }

  // A timer, not a check per message: a stream that only listens must end with its certificate as well.
  const expiry = clock.after(Math.min(Math.max(peer.expiresAtMs - clock.nowMs(), 0), 2 ** 31 - 1), () => {
    end(new RegistryError("unauthenticated", "the client certificate has expired"));
  });
  const stopWarmUp = warmUp.onOver(tellWhole);
  call.on("data", (request: WatchRequest) => {
    if (ended) return;
    try {
      handle(request);
    } catch (error) {
      end(error instanceof RegistryError ? error : new RegistryError("bad_request", "the request cannot be read", { cause: error }));
    }
  });
  call.on("drain", drain);
  call.on("cancelled", finish);
  call.on("close", finish);
  call.on("end", () => {
    finish();
    call.end();
  });
}

function questionOf(request: WatchRequest, namespace: string, clusterDomain: string): Question {
  const { service, address } = request;
  if (service !== undefined && service !== null) return serviceQuestion(service.name, service.port, namespace, clusterDomain);
  if (address !== undefined && address !== null) return addressQuestion(address.address, address.port);
  throw new RegistryError("bad_request", "a destination is expected: a service or an address");
}

// The sidecar's side of the registry, put together (design 8, 12): one heartbeat and one watch over one channel, the table of destinations, and
// the file that remembers them. A registry that cannot be reached is no reason not to start.
import type { ChannelOptions, Client, ClientDuplexStream, MethodDefinition } from "@grpc/grpc-js";
import type { Clock, Timer } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import type { Metrics } from "../../core/metrics.ts";
import type { HeartbeatRequest, HeartbeatResponse, WatchRequest, WatchUpdate } from "../../core/wire/registry.ts";
import type { Credentials, IdentitySource } from "../identity/identity-source.ts";
import type { ControlStream } from "./control-stream.ts";
import { startControlStream } from "./control-stream.ts";
import type { DestinationFollower, Destinations } from "./destinations.ts";
import { createDestinations } from "./destinations.ts";
import type { Discovery } from "./discovery.ts";
import type { HeartbeatOptions, Self, SelfLoad } from "./heartbeat.ts";
import { backoffMostMs, FIRST_LEASE_MS, startHeartbeat } from "./heartbeat.ts";
import type { SnapshotFile, SnapshotFiles } from "./snapshot-file.ts";
import { createSnapshotFile, loadSnapshotFile } from "./snapshot-file.ts";
import { watchRequest } from "./wire-endpoint.ts";

const WATCH_BACKOFF_MOST_MS = 5000;
/** Views of large services; the registry is trusted not to send more. */
const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;
/** Streams move away from a connection of a removed root within this time. */
const MOVE_WITHIN_MS = 5_000;
const SAYS_NOTHING = { issuedByRoot: "", trustedRoots: [] };
const CHANNEL_OPTIONS: ChannelOptions = {
  "grpc.keepalive_time_ms": 10_000,
  "grpc.keepalive_timeout_ms": 5000,
  "grpc.keepalive_permit_without_calls": 1,
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.min_reconnect_backoff_ms": 100,
  "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
  // A new generation of certificates must never find the subchannel of the old one.
  "grpc.use_local_subchannel_pool": 1,
  "grpc.enable_retries": 0,
};

/** Settings of {@link startDiscovery}. */
export interface DiscoveryOptions {
  readonly identity: IdentitySource;
  readonly self: Self;
  /** Asked at each heartbeat. */
  readonly load: () => SelfLoad;
  /** The root of the leaf in use and all that are believed, by `rootIdOf`; asked at each heartbeat. Default: they are not told. */
  readonly trust?: HeartbeatOptions["trust"];
  /** Where destinations are remembered; null: nowhere. */
  readonly stateDir: string | null;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** How long a first lookup waits for the registry. Default 1000. */
  readonly lookupTimeoutMs?: number;
  /** Destinations held and watched at once; the one unused longest goes first. Default and most 1000. */
  readonly maxDestinations?: number;
  /** Hears of each change of what callers see; default nobody. */
  readonly follower?: DestinationFollower | undefined;
  /** Tests make them fail. */
  readonly files?: SnapshotFiles;
}

/** What a channel offers. */
interface Opener {
  heartbeat(): ClientDuplexStream<HeartbeatRequest, HeartbeatResponse>;
  watch(): ClientDuplexStream<WatchRequest, WatchUpdate>;
  /** Ceiling of the backoff between its attempts to connect. */
  readonly backoffMostMs: number;
  close(): void;
}

/** Starts announcing and watching. Resolves as soon as the file is read; connecting goes on behind. */
export async function startDiscovery(options: DiscoveryOptions): Promise<Discovery> {
  const { identity, clock, random, log, metrics } = options;
  const makeOpener = await loadOpener(identity);
  const remembered = options.stateDir === null ? [] : await loadSnapshotFile(options.stateDir, identity.identity, log);
  const counters = declareMetrics(
    metrics,
    () => heartbeat.ageMs(),
    () => destinations.size(),
  );
  let opener = makeOpener(backoffMostMs(FIRST_LEASE_MS));
  let followed = identity.current();
  let leaseMs = FIRST_LEASE_MS;
  let moving: Timer | null = null;

  const destinations: Destinations = createDestinations({
    clock,
    lookupTimeoutMs: options.lookupTimeoutMs ?? 1000,
    maxDestinations: options.maxDestinations ?? 1000,
    remembered: remembered.slice(0, options.maxDestinations ?? 1000),
    ask: (destination, knownVersion) => void stream.send(watchRequest(destination, knownVersion)),
    unask: (destination) => void stream.send(watchRequest(destination, 0, true)),
    changed: () => file?.changed(),
    follower: options.follower,
  });
  const file: SnapshotFile | null =
    options.stateDir === null
      ? null
      : createSnapshotFile({
          stateDir: options.stateDir,
          identity: identity.identity,
          collect: () => destinations.found(),
          onError: () => counters.saveErrors.inc(),
          clock,
          log,
          ...(options.files === undefined ? {} : { files: options.files }),
        });
  const stream: ControlStream<WatchRequest> = startControlStream<WatchRequest, WatchUpdate>({
    name: "watch",
    open: () => opener.watch(),
    onOpen: () => queueMicrotask(askAll),
    onMessage: (update) => counters.updates.inc({ outcome: destinations.apply(update) ? "applied" : "ignored" }),
    onDown: () => destinations.unreachable(),
    backoffMostMs: () => WATCH_BACKOFF_MOST_MS,
    clock,
    random,
    log,
  });
  const heartbeat = startHeartbeat({
    open: () => opener.heartbeat(),
    self: options.self,
    load: options.load,
    credentials: () => identity.current(),
    trust: options.trust ?? (() => SAYS_NOTHING),
    answers: counters.answers,
    // The new stream on the old channel would wait on the same dead connection until its keepalive gives up, long after the lease.
    onSilent: takeNewChannel,
    onLease: followLease,
    clock,
    random,
    log,
  });

  function askAll(): void {
    for (const [destination, knownVersion] of destinations.watched()) stream.send(watchRequest(destination, knownVersion));
  }

  /** A new leaf: at once. A root was removed: soon, as every sidecar hears of that in the same moment. A root was added: what is open is as good as before. */
  function follow(credentials: Credentials): void {
    const before = followed;
    followed = credentials;
    if (before.leaf !== credentials.leaf) return takeNewChannel();
    moving?.cancel();
    if (before.roots.some((root) => !credentials.roots.some((one) => one.raw.equals(root.raw))))
      moving = clock.after(MOVE_WITHIN_MS * random(), takeNewChannel);
  }

  /** A channel keeps its backoff for as long as it lives; one that may wait too long for leases that are short is replaced while there is no hurry. */
  function followLease(nextMs: number): void {
    leaseMs = nextMs;
    if (backoffMostMs(leaseMs) < opener.backoffMostMs) takeNewChannel();
  }

  /** Both streams go on over a new channel before the old one closes; nothing held is lost. */
  function takeNewChannel(): void {
    moving?.cancel();
    const before = opener;
    opener = makeOpener(backoffMostMs(leaseMs));
    stream.restart();
    heartbeat.restart();
    before.close();
  }

  const stopListening = identity.onChange(follow);
  return {
    revision: destinations.revision,
    lookup: destinations.lookup,
    peek: destinations.peek,
    markRefused(endpoint) {
      counters.refusals.inc();
      destinations.markRefused(endpoint);
    },
    heartbeatAgeMs: heartbeat.ageMs,
    setState: heartbeat.setState,
    deregister: heartbeat.leave,
    async close() {
      stopListening();
      moving?.cancel();
      heartbeat.close();
      stream.close();
      destinations.close();
      opener.close();
      await file?.close();
    },
  };
}

/** Loads the gRPC client, which nothing before the first use of the registry needs (design 13.4). */
async function loadOpener(identity: IdentitySource): Promise<(backoffMostMs: number) => Opener> {
  const [{ Client: GrpcClient }, { registryService }] = await Promise.all([import("@grpc/grpc-js"), import("../../core/wire/load.ts")]);
  return (backoffMostMs) => {
    const { address, credentials, options } = identity.grpcChannel();
    const client = new GrpcClient(address, credentials, {
      ...CHANNEL_OPTIONS,
      "grpc.max_reconnect_backoff_ms": backoffMostMs,
      ...options,
    });
    return {
      backoffMostMs,
      heartbeat: () => openCall<HeartbeatRequest, HeartbeatResponse>(client, registryService["Heartbeat"]),
      watch: () => openCall<WatchRequest, WatchUpdate>(client, registryService["Watch"]),
      close: () => client.close(),
    };
  };
}

function openCall<Request, Response>(
  client: Client,
  method: MethodDefinition<Request, Response> | undefined,
): ClientDuplexStream<Request, Response> {
  if (method === undefined) throw new TypeError("the wire has no such method");
  return client.makeBidiStreamRequest(method.path, method.requestSerialize, method.responseDeserialize);
}

function declareMetrics(metrics: Metrics, ageMs: () => number, known: () => number) {
  metrics.gauge({
    name: "remora_heartbeat_age_seconds",
    help: "Time since the registry last accepted a heartbeat.",
    read: () => ageMs() / 1000,
  });
  metrics.gauge({ name: "remora_destinations", help: "Destinations held and watched.", read: known });
  return {
    answers: metrics.counter({ name: "remora_heartbeats_total", help: "Heartbeats answered by the registry.", labels: ["outcome"] }),
    updates: metrics.counter({
      name: "remora_watch_updates_total",
      help: "Updates of destinations from the registry.",
      labels: ["outcome"],
    }),
    refusals: metrics.counter({ name: "remora_early_removals_total", help: "Endpoints left alone because they refused a connection." }),
    saveErrors: metrics.counter({ name: "remora_destinations_save_errors_total", help: "Failed writes of the destinations file." }),
  };
}

// One simulated sidecar: the real heartbeat and the real reconnecting streams of the sidecar (backoff, jitter and all), with thin calls below and a table of
// watched services above that only counts.
import type { ClientDuplexStream } from "@grpc/grpc-js";
import { silentLogger } from "../../core/log.ts";
import type { CounterChild } from "../../core/metrics.ts";
import { registryService } from "../../core/wire/load.ts";
import type { HeartbeatRequest, HeartbeatResponse, WatchRequest, WatchUpdate } from "../../core/wire/registry.ts";
import { type ControlStream, startControlStream } from "../../sidecar/discovery/control-stream.ts";
import { startHeartbeat } from "../../sidecar/discovery/heartbeat.ts";
import { watchRequest } from "../../sidecar/discovery/wire-endpoint.ts";
import type { DueClock } from "./due-clock.ts";
import type { Link } from "./link.ts";
import type { Tally } from "./tally.ts";

const WATCH_BACKOFF_MOST_MS = 5_000; // as start-discovery.ts
const log = silentLogger();
const nobody: CounterChild = { inc() {} };

/** Who it is, and what it wants to know. */
export interface SidecarOptions {
  readonly link: Link;
  readonly clock: DueClock;
  readonly tally: Tally;
  readonly instanceId: string;
  readonly address: string;
  readonly service: string;
  /** Names of services. */
  readonly watches: readonly string[];
  readonly messageCertificate: Buffer;
}

/** A running one. */
export interface SimulatedSidecar {
  readonly instanceId: string;
  /** True while its last heartbeat was accepted over the connection there is, and every watch is answered. */
  isSettled(): boolean;
  /** Says that it leaves, then ends. */
  leave(): Promise<void>;
  close(): void;
}

/** Starts it as ready. */
export function startSidecar(options: SidecarOptions): SimulatedSidecar {
  const { link, clock, tally, instanceId } = options;
  const versions = new Map<string, number>(options.watches.map((name) => [name, 0]));
  const answered = new Set<string>();
  let isAccepted = false;
  let beats = 0;
  let requests = 0;

  const heartbeat = startHeartbeat({
    open: () => timed(link.open<HeartbeatRequest, HeartbeatResponse>(methodOf("Heartbeat"))),
    self: {
      instanceId,
      epoch: Date.now(),
      services: [options.service],
      addresses: [options.address],
      ports: [{ number: 8080, protocol: "http1", name: "http" }],
      inboundPort: 15006,
      version: "0.1.0",
      channel: "stable",
    },
    load() {
      requests += Math.floor(Math.random() * 100);
      return {
        inFlight: requests % 7,
        rps: Math.random() * 200,
        p99Ms: Math.random() * 40,
        errorRatio: 0,
        requests,
        errors: 0,
        refused: 0,
      };
    },
    trust: () => ({ issuedByRoot: "", trustedRoots: [] }),
    credentials: () => ({ expiresAtMs: tally.certificatesEndMs, messageCertificate: options.messageCertificate }),
    answers: { inc() {}, child: () => nobody },
    onSilent: () => {}, // channels are shared here: a slow answer is measured, not escaped
    clock,
    random: Math.random,
    log,
  });
  heartbeat.setState("ready");

  /** Notes when each heartbeat was due, how late it was written, and when its answer came. */
  function timed(call: ClientDuplexStream<HeartbeatRequest, HeartbeatResponse>) {
    const waitingMonoMs: number[] = [];
    const write = call.write.bind(call) as (message: HeartbeatRequest) => void;
    call.write = ((message: HeartbeatRequest) => {
      beats += 1;
      const dueMonoMs = clock.dueMonoMs();
      waitingMonoMs.push(dueMonoMs);
      tally.sent(clock.monoMs() - dueMonoMs);
      if (beats === 1) tally.announced(instanceId);
      write(message);
    }) as typeof call.write;
    call.on("data", (answer: HeartbeatResponse) => {
      isAccepted = answer.accepted;
      tally.answered(clock.monoMs() - (waitingMonoMs.shift() ?? Number.NaN), answer);
    });
    call.on("error", (error: Error) => {
      isAccepted = false;
      tally.failed(error);
    });
    return call;
  }

  const watch: ControlStream<WatchRequest> = startControlStream<WatchRequest, WatchUpdate>({
    name: "watch",
    open: () => link.open<WatchRequest, WatchUpdate>({ ...methodOf("Watch"), responseDeserialize: (bytes) => tally.read(bytes) }),
    onOpen: () => queueMicrotask(askAll),
    onMessage(update) {
      answered.add(update.key);
      versions.set(nameOf(update.key), update.version);
      tally.updated(update);
    },
    onDown: () => answered.clear(),
    backoffMostMs: () => WATCH_BACKOFF_MOST_MS,
    clock,
    random: Math.random,
    log,
  });

  function askAll(): void {
    for (const [name, version] of versions) watch.send(watchRequest({ kind: "service", name, port: 8080 }, version));
  }

  function close(): void {
    heartbeat.close();
    watch.close();
  }

  return {
    instanceId,
    isSettled: () => isAccepted && answered.size === versions.size,
    async leave() {
      await heartbeat.leave();
      close();
    },
    close,
  };
}

/** Of `service/<name>/<port>`. */
function nameOf(key: string): string {
  return key.split("/")[1] ?? "";
}

function methodOf(name: "Heartbeat" | "Watch") {
  const method = registryService[name];
  if (method === undefined) throw new TypeError("the wire has no such method");
  return method;
}

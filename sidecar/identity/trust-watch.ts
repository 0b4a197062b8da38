// The `WatchTrust` stream: one at a time, opened again with backoff whenever it ends. It hands on each bundle it hears; it decides nothing.
import type { ClientReadableStream, ServiceError } from "@grpc/grpc-js";
import { Client } from "@grpc/grpc-js";
import type { Clock, Timer } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import type { TrustBundle, WatchTrustRequest } from "../../core/wire/identity.ts";
import { identityService } from "../../core/wire/load.ts";
import { backoffMs, RUNNING } from "./backoff.ts";
import type { ControlChannel } from "./identity-source.ts";

/** Parts of {@link createTrustWatch}. */
export interface TrustWatchParts {
  /** Taken anew for each connection, so that it carries the current certificate. */
  channel(): ControlChannel;
  onBundle(bundle: TrustBundle): void;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
}

/** Connects at once; stop it with `close`. */
export function createTrustWatch(parts: TrustWatchParts): { close(): void } {
  let client: Client | null = null;
  let stream: ClientReadableStream<TrustBundle> | null = null;
  let timer: Timer | null = null;
  let failures = 0;
  let isClosed = false;

  function open(): void {
    const method = identityService["WatchTrust"];
    if (isClosed || method === undefined) return;
    const channel = parts.channel();
    client = new Client(channel.address, channel.credentials, channel.options);
    const opened = client.makeServerStreamRequest<WatchTrustRequest, TrustBundle>(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      {},
    );
    stream = opened;
    opened.on("data", (bundle: TrustBundle) => {
      failures = 0;
      parts.onBundle(bundle);
    });
    let cause: ServiceError | null = null;
    opened.on("error", (error: ServiceError) => {
      cause = error;
    });
    // grpc-js gives exactly one "status", with an error or without.
    opened.on("status", () => retry(cause));
  }

  function retry(cause: ServiceError | null): void {
    stream = null;
    client?.close();
    client = null;
    if (isClosed) return;
    failures += 1;
    const waitMs = backoffMs(failures, RUNNING, parts.random);
    parts.log.debug({ detail: cause?.details ?? "ended", waitMs }, "the trust stream ended");
    timer = parts.clock.after(waitMs, open);
  }

  open();
  return {
    close() {
      isClosed = true;
      timer?.cancel();
      stream?.cancel();
      client?.close();
    },
  };
}

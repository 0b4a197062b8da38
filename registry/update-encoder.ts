// Encodes what watchers are told, once for all who are told the same: of a view the whole answer, and what changed since the version before. Only the key, which each
// client chooses, is its own; it is the first field, so that it can be put in front of what is shared.
//
// HOT PATH: per watcher one small allocation.
import protobuf from "protobufjs/minimal.js";
import type { WatchUpdate, WireEndpoint } from "../core/wire/registry.ts";
import { watchUpdate } from "../core/wire/registry-messages.ts";
import { framed } from "../core/wire/server-call.ts";
import { wireProtocol } from "../core/wire/port-protocol.ts";
import { wireState } from "./lease.ts";
import type { ResolvedEndpoint } from "./resolve.ts";
import type { Change, View } from "./view.ts";
import { provisionalVersion } from "./views.ts";

/** Whole answers that are kept, octets; the oldest go first. What changed since a version is kept as long as its view. */
const MAX_KEPT_BYTES = 16 * 1024 * 1024;
const NO_CERTIFICATE = Buffer.alloc(0);
const NOTHING: Change = { upserts: [], removed: [] };

/** What a watcher is told; `additions`: what is known so far, to be laid over what it holds. */
export type UpdateKind = "full" | "delta" | "unchanged" | "additions";

/** The encoder of one registry. The bodies it gives are the same for all, and not to be written into. */
export interface UpdateEncoder {
  /** What of the message is this watcher's own, with the prefix. */
  head(key: string, body: Buffer): Buffer;
  /** The rest of it: everything. */
  full(view: View): Buffer;
  /** What changed; `change` is of this view. */
  delta(view: View, change: Change): Buffer;
  /** That nothing did. */
  unchanged(view: View): Buffer;
  /** Everything that is known, which may not be all. */
  additions(view: View): Buffer;
}

/** Makes an encoder that holds nothing. */
export function createUpdateEncoder(): UpdateEncoder {
  /** By where they come from: of each answer the newest version that somebody asked for. */
  const whole = new Map<object, { readonly version: number; readonly bytes: Buffer }>();
  let wholeBytes = 0;
  /** By what they tell of: a map that held views would hold their endpoints too, ten times as much. */
  const changes = new WeakMap<Change, Buffer>();
  const unchanged = new WeakMap<View, Buffer>();
  const additions = new WeakMap<View, Buffer>();

  function drop(origin: object): void {
    wholeBytes -= whole.get(origin)?.bytes.length ?? 0;
    whole.delete(origin);
  }

  function keep({ origin, version }: View, bytes: Buffer): void {
    drop(origin);
    whole.set(origin, { version, bytes });
    wholeBytes += bytes.length;
    for (const oldest of whole.keys()) {
      if (wholeBytes <= MAX_KEPT_BYTES) return;
      drop(oldest);
    }
  }

  return {
    head: (key, body) => framed(keyField(key), body.length),
    full(view) {
      const known = whole.get(view.origin);
      if (known?.version === view.version) return known.bytes;
      const bytes = encode(view, true, { upserts: view.resolved.endpoints, removed: [] });
      keep(view, bytes);
      return bytes;
    },
    delta(view, change) {
      const known = changes.get(change) ?? encode(view, false, change);
      changes.set(change, known);
      return known;
    },
    unchanged(view) {
      const known = unchanged.get(view) ?? encode(view, false, NOTHING);
      unchanged.set(view, known);
      return known;
    },
    additions(view) {
      const { resolved, gone } = view;
      const known =
        additions.get(view) ?? encode(view, false, { upserts: resolved.endpoints, removed: gone }, provisionalVersion(view.version));
      additions.set(view, known);
      return known;
    },
  };
}

/** Field 1 of a WatchUpdate. */
function keyField(key: string): Uint8Array {
  return protobuf.Writer.create().uint32(10).string(key).finish();
}

/** Everything but the key. */
function encode(view: View, full: boolean, { upserts, removed }: Change, version = view.version): Buffer {
  const { found, service, protocol } = view.resolved;
  const update: Partial<WatchUpdate> = {
    version,
    found,
    service,
    protocol: wireProtocol(protocol),
    full,
    upserts: upserts.map(wireEndpoint),
    removed: [...removed],
  };
  const encoded = watchUpdate.encode(update);
  // Apart from Node's pool, of which each would keep 64 KiB.
  const bytes = Buffer.allocUnsafeSlow(encoded.length);
  encoded.copy(bytes);
  return bytes;
}

function wireEndpoint({ lease, address, port, protocol }: ResolvedEndpoint): WireEndpoint {
  return {
    instanceId: lease.instanceId,
    identity: lease.identity,
    address,
    port,
    inboundPort: lease.inboundPort,
    protocol: wireProtocol(protocol),
    messageCertificate: lease.messageCertificate ?? NO_CERTIFICATE,
    version: lease.version,
    state: wireState(lease.state),
  };
}

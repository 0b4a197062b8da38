// Encodes what watchers are told, once for all who are told the same: of a view the whole answer, and what changed since the version before. Only the key, which each
// client chooses, is its own; it is the first field, so that it can be put in front of what is shared.
//
// HOT PATH: per watcher one small allocation.
import protobuf from "protobufjs/minimal.js";
import type { WatchUpdate, WireEndpoint } from "../core/wire/registry.ts";
import { watchUpdate } from "../core/wire/registry-messages.ts";
import { framed } from "../core/wire/server-call.ts";
import { wireProtocol, wireState } from "./lease.ts";
import type { ResolvedEndpoint } from "./resolve.ts";
import { provisionalVersion, type View } from "./views.ts";

/** Encoded answers that are kept, octets; the oldest go first. What changes often is asked for while it is new. */
const MAX_KEPT_BYTES = 16 * 1024 * 1024;
const NO_CERTIFICATE = Buffer.alloc(0);

/** What a watcher is told; `additions`: what is known so far, to be laid over what it holds. */
export type UpdateKind = "full" | "delta" | "unchanged" | "additions";

/** The encoder of one registry. */
export interface UpdateEncoder {
  /** What of the message is this watcher's own, with the prefix. */
  head(key: string, body: Buffer): Buffer;
  /** The rest of it, the same for all; not to be written into. */
  body(view: View, kind: UpdateKind): Buffer;
}

/** Makes an encoder that holds nothing. */
export function createUpdateEncoder(): UpdateEncoder {
  const kept = new Map<View, Partial<Record<UpdateKind, Buffer>>>();
  let keptBytes = 0;

  function keep(view: View, kind: UpdateKind, bytes: Buffer): void {
    kept.set(view, { ...kept.get(view), [kind]: bytes });
    keptBytes += bytes.length;
    for (const [oldest, bodies] of kept) {
      if (keptBytes <= MAX_KEPT_BYTES) return;
      kept.delete(oldest);
      for (const body of Object.values(bodies)) keptBytes -= body.length;
    }
  }

  function bodyOf(view: View, kind: UpdateKind): Buffer {
    const known = kept.get(view)?.[kind];
    if (known !== undefined) return known;
    const encoded = watchUpdate.encode(updateOf(view, kind));
    // Apart from Node's pool, of which each would keep 64 KiB.
    const bytes = Buffer.allocUnsafeSlow(encoded.length);
    encoded.copy(bytes);
    keep(view, kind, bytes);
    return bytes;
  }

  return { head: (key, body) => framed(keyField(key), body.length), body: bodyOf };
}

/** Field 1 of a WatchUpdate. */
function keyField(key: string): Uint8Array {
  return protobuf.Writer.create().uint32(10).string(key).finish();
}

/** Everything but the key. */
function updateOf({ version, resolved, upserts, removed }: View, kind: UpdateKind): Partial<WatchUpdate> {
  const { found, service, protocol } = resolved;
  const head = { version, found, service, protocol: wireProtocol(protocol), full: kind === "full" };
  switch (kind) {
    case "full":
      return { ...head, upserts: resolved.endpoints.map(wireEndpoint), removed: [] };
    case "delta":
      return { ...head, upserts: upserts.map(wireEndpoint), removed: [...removed] };
    case "additions":
      return { ...head, version: provisionalVersion(version), upserts: resolved.endpoints.map(wireEndpoint), removed: [...removed] };
    case "unchanged":
      return { ...head, upserts: [], removed: [] };
  }
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

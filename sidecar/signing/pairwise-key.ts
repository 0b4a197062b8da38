// The key that two workloads share for `hmac-sha256` (design 9): HKDF-SHA256 over ECDH of their message keys. The info names both identities and both
// keys in an order that does not depend on who asks, so that both sides derive the same key without a word; the direction is in what is signed.
import { createSecretKey, diffieHellman, hkdfSync, type KeyObject } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { SpiffeId } from "../../core/spiffe.ts";

const LABEL = "remora-grpc-v1 hmac-sha256";
const KEY_BYTES = 32;
const DEFAULT_MAX_KEYS = 4_096;

/** Our end. */
export interface OwnMessageKey {
  readonly identity: SpiffeId;
  readonly keyId: string;
  /** Private P-256. */
  readonly privateKey: KeyObject;
}

/** The other end, from its checked message certificate. */
export interface PeerMessageKey {
  readonly identity: SpiffeId;
  readonly keyId: string;
  readonly publicKey: KeyObject;
}

/** Derives the shared key. The same for both ends; another for every pair of keys. */
export function derivePairwiseKey(own: OwnMessageKey, peer: PeerMessageKey): KeyObject {
  const shared = diffieHellman({ privateKey: own.privateKey, publicKey: peer.publicKey });
  // Neither identities nor key ids can hold a space or a line break: no two pairs print alike.
  const ends = [`${own.identity} ${own.keyId}`, `${peer.identity} ${peer.keyId}`].sort();
  return createSecretKey(Buffer.from(hkdfSync("sha256", shared, Buffer.alloc(0), [LABEL, ...ends].join("\n"), KEY_BYTES)));
}

/** Derived keys, at most `maxKeys` (default 4 096) of them; the least recently used one is derived again. */
export interface PairwiseKeys {
  get(own: OwnMessageKey, peer: PeerMessageKey): KeyObject;
}

/** Makes an empty cache over {@link derivePairwiseKey}, which costs some 100 µs. */
export function createPairwiseKeys(options: { readonly maxKeys?: number } = {}): PairwiseKeys {
  const keys = new LRUCache<string, KeyObject>({ max: options.maxKeys ?? DEFAULT_MAX_KEYS });
  return {
    get(own, peer) {
      // A key id is the hash of a certificate, which holds the identity.
      const name = `${own.keyId}.${peer.keyId}`;
      let key = keys.get(name);
      if (key === undefined) {
        key = derivePairwiseKey(own, peer);
        keys.set(name, key);
      }
      return key;
    },
  };
}

// The key that two workloads share for `hmac-sha256` (design 9): HKDF-SHA256 over ECDH of their message keys. The info names both identities and both
// keys in an order that does not depend on who asks, so that both sides derive the same key without a word; the direction is in what is signed.
// Owns the cache of derived keys, each with the forms of what it signs: they go when either of its keys goes.
import { createSecretKey, diffieHellman, hkdfSync, type KeyObject } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { SpiffeId } from "../../core/spiffe.ts";
import { BaseForm } from "./base-form.ts";
import { MacKey } from "./mac-key.ts";
import { type BodyKind, type CallHead, formatBehindNonce } from "./profile.ts";

const LABEL = "remora-grpc-v1 hmac-sha256";
const KEY_BYTES = 32;
const DEFAULT_MAX_KEYS = 4_096;
/** Forms kept with a key: methods that one workload calls at another. The next one makes all of them be printed again. */
const MAX_FORMS = 16;
/** Longer ones are printed for each request: 16 KiB are the most that a peer can make one key keep. */
const MAX_FORM_BYTES = 1_024;

/** Our end. */
export interface OwnMessageKey {
  readonly identity: SpiffeId;
  readonly keyId: string;
  /** Private P-256. The cache lives as long as this object. */
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

/** A derived key and what it signs most. */
export class PairwiseKey {
  readonly #key: MacKey;
  readonly #forms = new Map<string, BaseForm>();
  #last: BaseForm | null = null;
  /** `keyid` of what our end signs, and how its `signature-input` ends. */
  readonly keyId: string;
  readonly behindNonce: string;

  constructor(own: OwnMessageKey, peer: PeerMessageKey) {
    this.#key = new MacKey(derivePairwiseKey(own, peer));
    this.keyId = `${own.keyId}.${peer.keyId}`;
    this.behindNonce = formatBehindNonce(this.keyId, "hmac-sha256");
  }

  /** Forms held. */
  get forms(): number {
    return this.#forms.size;
  }

  /** The form of such a request; `keyId` names the two keys in the direction of the request. */
  form(call: CallHead, body: BodyKind, keyId: string): BaseForm {
    if (this.#last?.isOf(call, body, keyId) === true) return this.#last;
    let form = this.#forms.get(call.path);
    if (form?.isOf(call, body, keyId) !== true) {
      form = new BaseForm(this.#key, call, body, keyId);
      if (form.size > MAX_FORM_BYTES) return form;
      if (this.#forms.size >= MAX_FORMS) this.#forms.clear();
      this.#forms.set(call.path, form);
    }
    this.#last = form;
    return form;
  }
}

/** Derived keys, at most `maxKeys` (default 4 096) of each own key; the least recently used one is derived again. */
export interface PairwiseKeys {
  get(own: OwnMessageKey, peer: PeerMessageKey): PairwiseKey;
}

/** Makes an empty cache over {@link derivePairwiseKey}, which costs some 100 µs. */
export function createPairwiseKeys(options: { readonly maxKeys?: number } = {}): PairwiseKeys {
  // Weak, so that what was derived of an own key is dropped with it.
  const byOwnKey = new WeakMap<KeyObject, LRUCache<string, PairwiseKey>>();
  return {
    get(own, peer) {
      let keys = byOwnKey.get(own.privateKey);
      if (keys === undefined) {
        keys = new LRUCache({ max: options.maxKeys ?? DEFAULT_MAX_KEYS });
        byOwnKey.set(own.privateKey, keys);
      }
      // A key id is the hash of a certificate, which holds the identity.
      let key = keys.get(peer.keyId);
      if (key === undefined) {
        key = new PairwiseKey(own, peer);
        keys.set(peer.keyId, key);
      }
      return key;
    },
  };
}

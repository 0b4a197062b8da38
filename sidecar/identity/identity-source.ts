// What a workload knows about itself (design 7): the interface that listeners, dialers and control-plane clients use. The client behind it
// is start-identity.ts; everything handed out is immutable, a renewal swaps the reference (style 14).
import type { KeyObject, X509Certificate } from "node:crypto";
import type { ChannelCredentials, ChannelOptions } from "@grpc/grpc-js";
import type { SpiffeId } from "../../core/spiffe.ts";

/** One generation of keys and certificates. */
export interface Credentials {
  /** Leaf first, then issuers without the root: what a TLS socket sends. */
  readonly certificateChainPem: string;
  /** PKCS#8. Lives in memory only, or in the state folder with mode 0600. */
  readonly privateKeyPem: string;
  readonly leaf: X509Certificate;
  /** Epoch ms at which the earlier of the two certificates ends. */
  readonly expiresAtMs: number;
  /** All trusted roots, concatenated. */
  readonly rootsPem: string;
  readonly roots: readonly X509Certificate[];
  /** Private P-256 key for messages (design 9), apart from the TLS key. */
  readonly messageKey: KeyObject;
  /** DER of its certificate. */
  readonly messageCertificate: Buffer;
  /** Names the message key on the wire: `messageKeyId(messageCertificate)` of core/x509/peer-check.ts. */
  readonly messageKeyId: string;
  /** The generation before, so that peers who have not heard yet still agree on keys; null before the first renewal and once it expired. */
  readonly previous: PreviousMessageKey | null;
}

/** The message key that was replaced last. */
export interface PreviousMessageKey {
  readonly messageKey: KeyObject;
  readonly messageKeyId: string;
  readonly expiresAtMs: number;
}

/** Where to reach the control plane and as whom. Made for one generation: take a new one after `onChange`. */
export interface ControlChannel {
  /** `host:port` */
  readonly address: string;
  readonly credentials: ChannelCredentials;
  /** Channel options that the control plane's certificate needs; pass them on. */
  readonly options: ChannelOptions;
}

/** The workload's identity as long as the process lives. */
export interface IdentitySource {
  readonly identity: SpiffeId;
  readonly trustDomain: string;
  /** Never null: a source exists from its first certificate on. */
  current(): Credentials;
  /** Calls `run` after each swap (new leaf or new roots). Open connections keep what they have. Returns the unsubscriber. */
  onChange(run: (credentials: Credentials) => void): () => void;
  grpcChannel(): ControlChannel;
  close(): Promise<void>;
}

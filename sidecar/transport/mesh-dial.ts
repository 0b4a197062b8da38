// Opens mTLS connections to mesh peers (design 6): TLS 1.3, the expected identity in the SNI, the protocol in the ALPN, and our own checks on
// the peer's certificate before a byte of a request is written. A new leaf replaces the TLS context; open connections are left alone.
import { connect as connectTcp } from "node:net";
import { connect as connectTls, createSecureContext, type SecureContext, type TLSSocket } from "node:tls";
import type { Clock } from "../../core/clock.ts";
import { CertError, ProtocolError } from "../../core/errors.ts";
import { type SpiffeId, sniFor } from "../../core/spiffe.ts";
import type { Credentials, IdentitySource } from "../identity/identity-source.ts";
import { verifyPeer } from "../../core/x509/verify-peer.ts";
import type { MeshAlpn } from "./client-hello.ts";
import { resetWhenHandshakeIsLost } from "./lost-write.ts";
import { rememberCarrier, resetStream } from "./reset.ts";

/** An open, verified mTLS connection. */
export interface MeshConnection {
  readonly socket: TLSSocket;
  readonly peer: SpiffeId;
  /** RFC 9266 `tls-exporter`, 32 bytes: the same on both ends of this connection and nowhere else. */
  readonly channelBinding: Buffer;
  /** What the peer has agreed to speak. */
  readonly alpn: MeshAlpn;
  /** Id of the message key whose certificate was last sent on this connection (design 9), so that it is sent once; empty before. */
  sentMessageKeyId: string;
}

/** Where to dial and who must be there. */
export interface MeshTarget {
  readonly address: string;
  /** TCP port to connect to: the app's own port, or the announced inbound port of an explicit peer. */
  readonly dialPort: number;
  /** The app's port, as put into the SNI. */
  readonly port: number;
  readonly identity: SpiffeId;
  /** What is offered, in order of preference. */
  readonly alpn: readonly MeshAlpn[];
}

/** Dials mesh peers with the current leaf. */
export interface MeshDialer {
  /** Calls back exactly once. Errors: ProtocolError `connect_failed`, `timeout` or `identity_mismatch`. */
  dial(target: MeshTarget, done: (error: ProtocolError | null, connection: MeshConnection | null) => void): void;
  close(): void;
}

const CHANNEL_BINDING_LABEL = "EXPORTER-Channel-Binding";
const CHANNEL_BINDING_BYTES = 32;

/** The RFC 9266 channel binding of a connection whose handshake is complete. */
export function channelBindingOf(socket: TLSSocket): Buffer {
  return socket.exportKeyingMaterial(CHANNEL_BINDING_BYTES, CHANNEL_BINDING_LABEL, Buffer.alloc(0));
}

/** Makes a dialer. `connectTimeoutMs` covers TCP and TLS together. */
export function createMeshDialer(options: {
  readonly identity: IdentitySource;
  readonly clock: Clock;
  readonly connectTimeoutMs: number;
}): MeshDialer {
  let context = clientContext(options.identity.current());
  const stopWatching = options.identity.onChange((credentials) => {
    context = clientContext(credentials);
  });

  function dial(target: MeshTarget, done: (error: ProtocolError | null, connection: MeshConnection | null) => void): void {
    let settled = false;
    const carrier = connectTcp({ host: target.address, port: target.dialPort, allowHalfOpen: true, noDelay: true });
    const socket = connectTls({
      socket: carrier,
      secureContext: context,
      servername: sniFor(target.identity, target.port),
      ALPNProtocols: [...target.alpn],
      // Node would match the SNI against DNS names; the identity is checked below, and the chain by `rejectUnauthorized`.
      checkServerIdentity: () => undefined,
      rejectUnauthorized: true,
    });
    rememberCarrier(socket, carrier);
    carrier.once("error", onError);
    const timer = options.clock.after(options.connectTimeoutMs, () =>
      fail(new ProtocolError("timeout", `no TLS connection to ${target.address}:${target.dialPort} within ${options.connectTimeoutMs} ms`)),
    );
    socket.once("error", onError);
    socket.once("close", onClose);
    socket.once("secureConnect", onSecure);

    function onSecure(): void {
      try {
        const alpn = target.alpn.find((name) => name === socket.alpnProtocol);
        if (alpn === undefined) throw new ProtocolError("connect_failed", `peer did not agree on ${target.alpn.join(" or ")}`);
        const peer = verifyPeer(socket, {
          trustDomain: options.identity.trustDomain,
          usage: "server",
          expected: target.identity,
          roots: options.identity.current().roots,
          nowMs: options.clock.nowMs(),
        });
        const channelBinding = channelBindingOf(socket);
        detach();
        resetWhenHandshakeIsLost(socket, carrier);
        done(null, { socket, peer, channelBinding, alpn, sentMessageKeyId: "" });
      } catch (cause) {
        fail(asDialError(cause, target));
      }
    }

    function onError(cause: Error): void {
      fail(asDialError(cause, target));
    }

    function onClose(): void {
      fail(new ProtocolError("connect_failed", `${target.address}:${target.dialPort} closed the connection during the handshake`));
    }

    function fail(error: ProtocolError): void {
      // A refused connection is told twice, by the carrier and by the TLS socket on it, in one emit that `off` cannot stop.
      if (settled) return;
      detach();
      resetStream(socket);
      done(error, null);
    }

    function detach(): void {
      settled = true;
      timer.cancel();
      carrier.off("error", onError);
      carrier.on("error", () => {});
      socket.off("error", onError);
      socket.off("close", onClose);
      socket.off("secureConnect", onSecure);
    }
  }

  return { dial, close: stopWatching };
}

function clientContext(credentials: Credentials): SecureContext {
  return createSecureContext({
    key: credentials.privateKeyPem,
    cert: credentials.certificateChainPem,
    ca: credentials.rootsPem,
    minVersion: "TLSv1.3",
    ecdhCurve: "P-256:X25519",
  });
}

/** What OpenSSL calls errors on chains: `CERT_…`, `…_SIGNATURE`, `INVALID_PURPOSE`, and without a code "EE certificate key too weak". */
const ABOUT_CERTIFICATE = /CERT|SIGNATURE|SELF_SIGNED|PURPOSE|certificate/;

/** Errors on the peer's chain are about who is there, everything else is about getting there. */
function asDialError(cause: unknown, target: MeshTarget): ProtocolError {
  if (cause instanceof ProtocolError) return cause;
  const text = cause instanceof Error ? cause.message : String(cause);
  const aboutIdentity = cause instanceof CertError || ABOUT_CERTIFICATE.test(`${(cause as { code?: unknown }).code} ${text}`);
  const reason = aboutIdentity ? "identity_mismatch" : "connect_failed";
  return new ProtocolError(reason, `${target.identity} at ${target.address}:${target.dialPort}: ${text}`, { cause });
}

// Terminates mTLS of mesh peers on sockets that were accepted and sniffed elsewhere (design 6). A tls.Server that never listens does the
// work: sockets are handed to it by its `connection` event (documented for any Duplex), so that bytes already read are seen again.
import { constants } from "node:crypto";
import type { Socket } from "node:net";
import { createServer, type Server, type TLSSocket } from "node:tls";
import type { Clock } from "../../core/clock.ts";
import { CertError, ProtocolError } from "../../core/errors.ts";
import { parseSni, type SpiffeId } from "../../core/spiffe.ts";
import type { Credentials, IdentitySource } from "../identity/identity-source.ts";
import { verifyPeer } from "../../core/x509/verify-peer.ts";
import { MESH_ALPN, type MeshAlpn } from "./client-hello.ts";
import { channelBindingOf } from "./mesh-dial.ts";
import { resetWhenHandshakeIsLost } from "./lost-write.ts";
import { rememberCarrier } from "./reset.ts";

/** A mesh peer's connection after its handshake. */
export interface AcceptedMesh {
  readonly socket: TLSSocket;
  readonly peer: SpiffeId;
  readonly alpn: MeshAlpn;
  /** The app port that the peer asked for in its SNI. */
  readonly port: number;
  readonly channelBinding: Buffer;
}

/** Terminates mesh TLS with the current leaf. */
export interface MeshAcceptor {
  /** Does the handshake on `socket`. Calls back exactly once; the socket is destroyed on error. */
  accept(socket: Socket, done: (error: CertError | ProtocolError | null, accepted: AcceptedMesh | null) => void): void;
  close(): void;
}

type Pending = (error: Error | null, socket: TLSSocket | null) => void;

/** Makes an acceptor. `handshakeTimeoutMs` bounds a slow handshake. */
export function createMeshAcceptor(options: {
  readonly identity: IdentitySource;
  readonly clock: Clock;
  readonly handshakeTimeoutMs: number;
  /** True when trunks are agreed to. */
  readonly knowsTrunks: boolean;
}): MeshAcceptor {
  /** One entry from `accept` until the handshake ends, by {@link keyOf}. */
  const pending = new Map<string, Pending>();
  const server = serverFor(
    options.identity.current(),
    options.knowsTrunks ? MESH_ALPN : MESH_ALPN.filter((name) => name !== "remora/h1-streams"),
  );
  const stopWatching = options.identity.onChange((credentials) => server.setSecureContext(contextOf(credentials)));

  server.on("secureConnection", (socket) => {
    const settle = take(socket);
    // The peer reset as soon as it had finished: its address is gone, and nobody waits for this socket any more.
    if (settle === undefined) socket.destroy();
    else settle(null, socket);
  });
  server.on("tlsClientError", (error, socket) => take(socket)?.(error, null));

  function take(socket: TLSSocket): Pending | undefined {
    const key = keyOf(socket);
    const found = pending.get(key);
    pending.delete(key);
    return found;
  }

  function accept(socket: Socket, done: (error: CertError | ProtocolError | null, accepted: AcceptedMesh | null) => void): void {
    if (socket.remotePort === undefined) {
      // It reset before it was accepted, and has no address any more by which its handshake could be told from another's.
      socket.destroy();
      return done(new ProtocolError("bad_request", "the peer left before the TLS handshake"), null);
    }
    const key = keyOf(socket);
    const onClose = () => settle(new ProtocolError("bad_request", "the peer left during the TLS handshake"), null);
    // Node's own timer would do, but it starts again with everything that is sent: this one bounds the whole handshake, also of a peer that dribbles it.
    let late: NodeJS.Immediate | null = null;
    const timer = options.clock.after(options.handshakeTimeoutMs, () => {
      // After a stall of this process what came meanwhile is read only now: nobody is refused for our own delay.
      late = setImmediate(() => settle(new ProtocolError("timeout", `no TLS handshake within ${options.handshakeTimeoutMs} ms`), null));
    });
    function settle(error: Error | null, tls: TLSSocket | null): void {
      timer.cancel();
      if (late !== null) clearImmediate(late);
      if (pending.get(key) === settle) pending.delete(key); // the peer's port may be another connection's by now
      socket.off("close", onClose);
      if (error !== null || tls === null) {
        socket.destroy();
        return done(error instanceof ProtocolError ? error : new CertError("untrusted", `TLS handshake failed: ${error?.message}`), null);
      }
      rememberCarrier(tls, socket);
      resetWhenHandshakeIsLost(tls, socket);
      let accepted: AcceptedMesh;
      try {
        accepted = examine(tls);
      } catch (failure) {
        tls.destroy();
        return done(failure as CertError | ProtocolError, null);
      }
      done(null, accepted);
    }
    pending.set(key, settle);
    socket.once("close", onClose);
    server.emit("connection", socket);
  }

  function examine(tls: TLSSocket): AcceptedMesh {
    const { trustDomain } = options.identity;
    const { roots } = options.identity.current();
    const peer = verifyPeer(tls, { trustDomain, usage: "client", roots, nowMs: options.clock.nowMs() });
    const asked = parseSni((tls as { servername?: string | false }).servername || "", options.identity.trustDomain);
    if (asked === null) throw new ProtocolError("bad_request", "the server name is not of the form p<port>.<sa>.<ns>.sa.<trust-domain>");
    if (asked.id !== options.identity.identity) {
      throw new ProtocolError("identity_mismatch", `the peer asked for ${asked.id}, this is ${options.identity.identity}`);
    }
    return { socket: tls, peer, alpn: tls.alpnProtocol as MeshAlpn, port: asked.port, channelBinding: channelBindingOf(tls) };
  }

  return {
    accept,
    close() {
      stopWatching();
      pending.clear();
    },
  };
}

function serverFor(credentials: Credentials, alpn: readonly MeshAlpn[]): Server {
  return createServer({
    ...contextOf(credentials),
    requestCert: true,
    // The chain is judged in `verifyPeer`, so that the refusal has a reason and is counted.
    rejectUnauthorized: false,
    // Not `ALPNProtocols`: Node would keep a copy of the list for each connection, and with it the slab of 8 KiB or more that it was cut from.
    ALPNCallback: ({ protocols }) => alpn.find((name) => protocols.includes(name)),
  });
}

function contextOf(credentials: Credentials) {
  return {
    key: credentials.privateKeyPem,
    cert: credentials.certificateChainPem,
    ca: credentials.rootsPem,
    minVersion: "TLSv1.3" as const,
    ecdhCurve: "P-256:X25519",
    // No connection is ever resumed (design 6): each proves its identity against the roots of its time. Tickets would only cost: each of the two that
    // OpenSSL sends holds the whole client certificate, which is about 10 KiB of memory for as long as the connection lives (Node 26.10).
    secureOptions: constants.SSL_OP_NO_TICKET,
  };
}

/** Remote address and port name a live TCP connection to one local port; both the plain and the TLS socket know them. */
function keyOf(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort} ${socket.localAddress} ${socket.localPort}`;
}

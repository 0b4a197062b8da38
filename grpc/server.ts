// The control plane's gRPC listener: TLS 1.3 that asks for a client certificate without insisting on one, because a workload that joins has none yet. The key and
// roots are swapped without touching open connections. HTTP/2 is that of the sidecar's engine, so that messages
// are taken as bytes, and what many are told is encoded and framed once.
import { once } from "node:events";
import { type AddressInfo, createServer as createListener, type Socket } from "node:net";
import { constants, X509Certificate } from "node:crypto";
import { createServer, type TLSSocket, type TlsOptions } from "node:tls";
import type { ServiceDefinition } from "@grpc/grpc-js";
import { systemClock, type Timer } from "../core/clock.ts";
import type { Logger } from "../core/log.ts";
import type { Stream } from "../sidecar/http2/stream.ts";
import type { HeaderList } from "../sidecar/http2/header-list.ts";
import { keepManySmallBuffers } from "../sidecar/http2/outbox.ts";
import type { Admission } from "./admission.ts";
import { createJudgedAt, type JudgedAt } from "../core/x509/judged-at.ts";
import { createAcceptQueue } from "./accept-queue.ts";
import { type ConnectionServer, GRPC_TIMEOUTS, GrpcConnection, type Peer } from "./connection.ts";
import { type Serve, serveMethods } from "./methods.ts";
import { type IsTrusted, verifiedChain } from "./verified-chain.ts";

/** Larger ones are answered RESOURCE_EXHAUSTED. The largest that is legitimate, a heartbeat with every field at its bound, has some 30 KB. */
const MAX_MESSAGE_BYTES = 64 * 1024;
const MAX_CONNECTIONS = 50_000;
const HANDSHAKE_TIMEOUT_MS = 10_000;
const CLOSE_GRACE_MS = 3000;
/** Each connection is looked at once in this time, some of them at a time: with tens of thousands of streams, all at once is a wait for those who are served. */
const SWEEP_MS = 1_000;
const SWEEP_PARTS = 10;
/** Clients hear of a removed root when we do; they have this long to come back with what they have now. */
const LEAVE_MS = 10_000;
/** What is written in one turn: an answer to a heartbeat is 30 octets, an update mostly some hundred. */
const BUFFERS = { bytes: 32 * 1024, count: 128 };
/** Connections that wait to be accepted, as far as the kernel lets it (net.core.somaxconn): a thousand pods may start in one second. */
const BACKLOG = 4_096;

/** The server's key and what it verifies clients against. */
export interface GrpcServerTls {
  /** PEM. */
  readonly key: string | Buffer;
  /** PEM chain, leaf first. */
  readonly cert: string | Buffer;
  /** PEM roots for client certificates. */
  readonly ca: string;
}

/** A service and its handlers. */
export interface GrpcService {
  readonly definition: ServiceDefinition;
  /** A function for each method, by its name: of `IdentityHandlers` or `RegistryHandlers`. */
  readonly implementation: object;
}

/** What {@link startGrpcServer} needs. */
export interface GrpcServerOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly log: Logger;
  readonly services: readonly GrpcService[];
  /** The current key, chain and roots; asked again whenever `onTlsChange` calls back. */
  tls(): GrpcServerTls;
  /** Registers a call for every change of what `tls` gives; returns what undoes it. */
  onTlsChange(run: () => void): () => void;
  /**
   * Asked of every client after such a change: false ends its connection, once it has had {@link LEAVE_MS} to leave by itself. Asked too of one whose certificate is too
   * young for the clock alone. Default: nobody is asked, and the latter is not verified.
   */
  readonly isTrusted?: IsTrusted;
  /** When certificates of clients are judged; default: by the system's clock. */
  readonly judgedAt?: JudgedAt;
  /** Who may call, and how much; without it, handlers alone decide. */
  readonly admission?: Admission;
  /** How long streams may go on after `close`; default 3 s. */
  readonly closeGraceMs?: number;
}

/** A running gRPC server. */
export interface GrpcServer {
  readonly port: number;
  /** Sends GOAWAY, waits for streams until the grace is over, then cuts them. */
  close(): Promise<void>;
}

/** Listens; raises the listen error (for example EADDRINUSE), or what OpenSSL says about the key and chain. */
export async function startGrpcServer(options: GrpcServerOptions): Promise<GrpcServer> {
  const { log, closeGraceMs = CLOSE_GRACE_MS, judgedAt = createJudgedAt(systemClock) } = options;
  keepManySmallBuffers(BUFFERS);
  const tls = createServer({ ...contextOf(options.tls()), ...HANDSHAKE });
  const sockets = new Set<Socket>();
  const connections = createConnections(
    serveMethods(options.services, MAX_MESSAGE_BYTES, options.admission ?? null),
    (socket) => verifiedChain(socket, judgedAt, options.isTrusted),
    log,
  );

  const accepted = createAcceptQueue({ begin: (socket) => void tls.emit("connection", socket) });
  const listener = createListener({ pauseOnConnect: true, noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    accepted.push(socket);
  });
  listener.maxConnections = MAX_CONNECTIONS;
  tls.on("tlsClientError", (err, socket) => {
    log.debug({ err, remoteAddress: socket.remoteAddress }, "TLS handshake failed");
    socket.destroy();
  });
  tls.on("secureConnection", (socket) => {
    socket.on("error", (err) => log.debug({ err, remoteAddress: socket.remoteAddress }, "connection failed"));
    if (socket.alpnProtocol !== "h2") socket.destroy();
    else connections.serve(socket);
  });
  let leaving: Timer | null = null;
  const stopWatching = options.onTlsChange(() => swapContext());

  function swapContext(): void {
    try {
      tls.setSecureContext(contextOf(options.tls()));
      log.info({}, "TLS key and roots swapped");
      leaving?.cancel();
      leaving = systemClock.after(LEAVE_MS, endUntrusted);
    } catch (err) {
      log.error({ err }, "new TLS key and roots are not usable, keeping the old ones");
    }
  }

  function endUntrusted(): void {
    const { isTrusted } = options;
    const ended =
      isTrusted === undefined
        ? 0
        : connections.cutAll(({ authContext: { sslPeerCertificate: sent } }) => {
            return (
              sent !== undefined &&
              !isTrusted(
                new X509Certificate(sent.raw),
                (sent.issuers ?? []).map((raw) => new X509Certificate(raw)),
              )
            );
          });
    if (ended > 0) log.info({ connections: ended }, "connections of clients of a removed root were ended");
  }

  listener.listen({ port: options.port, host: options.host, backlog: BACKLOG });
  await once(listener, "listening");
  listener.on("error", (err) => log.error({ err }, "gRPC server failed"));
  const { port } = listener.address() as AddressInfo; // a TCP listener's address is never a string
  log.info({ host: options.host, port }, "gRPC server listening");

  async function close(): Promise<void> {
    stopWatching();
    leaving?.cancel();
    const closed = once(listener, "close");
    listener.close();
    connections.drain();
    const force = setTimeout(() => {
      connections.cut();
      for (const socket of sockets) socket.destroy();
    }, closeGraceMs);
    await closed;
    clearTimeout(force);
    connections.close();
  }
  return { port, close };
}

/** The open connections, and one timer that looks after all of them. */
function createConnections(serve: Serve, verified: ConnectionServer["verifiedChain"], log: Logger) {
  const open = new Set<GrpcConnection>();
  const server: ConnectionServer & { nowMonoMs: number } = {
    nowMonoMs: systemClock.monoMs(),
    timeouts: GRPC_TIMEOUTS,
    verifiedChain: verified,
    begin: (stream: Stream, path: string, head: HeaderList, peer: Peer, isEnd: boolean) => serve(stream, path, head, peer, isEnd),
    flawed: (peer, detail) => log.debug({ peer: peer.name, detail }, "a client broke a rule of HTTP/2"),
    forget: (connection) => void open.delete(connection),
  };
  let unchecked = open.values();
  const sweep = systemClock.every(SWEEP_MS / SWEEP_PARTS, () => {
    server.nowMonoMs = systemClock.monoMs();
    for (let left = Math.ceil(open.size / SWEEP_PARTS); left > 0; left -= 1) {
      const { value: connection } = unchecked.next();
      if (connection === undefined) {
        unchecked = open.values();
        return;
      }
      connection.check();
    }
  });

  return {
    serve(socket: TLSSocket): void {
      const connection = new GrpcConnection(socket, server);
      open.add(connection);
      connection.start();
    },
    drain(): void {
      for (const connection of open) connection.drain();
    },
    cut(): void {
      for (const connection of open) connection.close();
    },
    /** Cuts those whose peer it says so of; gives their number. */
    cutAll(isOver: (peer: Peer) => boolean): number {
      const over = [...open].filter(({ peer }) => isOver(peer));
      for (const connection of over) connection.close();
      return over.length;
    },
    close: () => sweep.cancel(),
  };
}

const HANDSHAKE = {
  // Not `ALPNProtocols`: Node would keep a copy of the list for each connection, and with it the slab of 64 KiB that it was cut from.
  ALPNCallback: ({ protocols }) => (protocols.includes("h2") ? "h2" : undefined),
  requestCert: true,
  rejectUnauthorized: false,
  handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
} as const satisfies TlsOptions;

function contextOf({ key, cert, ca }: GrpcServerTls): TlsOptions {
  // A resumed session would bring back a verdict on the client from before roots changed or its certificate ended.
  // The curves as between sidecars: of a hybrid exchange OpenSSL keeps the ML-KEM key, 6 KiB, for as long as the connection lives (Node 26.10).
  return { key, cert, ca, minVersion: "TLSv1.3", ecdhCurve: "P-256:X25519", secureOptions: constants.SSL_OP_NO_TICKET };
}

// The control plane's gRPC listener: TLS 1.3 that asks for a client certificate without insisting on one, because a workload that joins has none yet.
// The TLS server is our own, so that its key and roots can be swapped without touching open connections; grpc-js gets each finished
// connection through its injector. Who the caller is, is for the handlers: `peerCertificate` gives the certificate whose chain was verified.
import { constants, X509Certificate } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo, Socket } from "node:net";
import { createServer, type TlsOptions } from "node:tls";
import { Server, ServerCredentials, type ServiceDefinition, type UntypedServiceImplementation } from "@grpc/grpc-js";
import type { Logger } from "./log.ts";

const MAX_MESSAGE_BYTES = 1024 * 1024;
const MAX_CONCURRENT_STREAMS = 1000;
const MAX_CONNECTIONS = 50_000;
const KEEPALIVE_TIME_MS = 20_000;
const KEEPALIVE_TIMEOUT_MS = 10_000;
const HANDSHAKE_TIMEOUT_MS = 10_000;
const CLOSE_GRACE_MS = 3000;

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
  readonly implementation: UntypedServiceImplementation;
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
  const { log, closeGraceMs = CLOSE_GRACE_MS } = options;
  const grpc = createGrpc(options.services);
  const injector = grpc.createConnectionInjector(ServerCredentials.createInsecure());
  const tls = createServer({ ...contextOf(options.tls()), ...HANDSHAKE });
  const sockets = new Set<Socket>();

  tls.maxConnections = MAX_CONNECTIONS;
  tls.on("connection", (socket: Socket) => {
    socket.setNoDelay(true);
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  tls.on("tlsClientError", (err, socket) => {
    log.debug({ err, remoteAddress: socket.remoteAddress }, "TLS handshake failed");
    socket.destroy();
  });
  tls.on("secureConnection", (socket) => {
    socket.on("error", (err) => log.debug({ err, remoteAddress: socket.remoteAddress }, "connection failed"));
    if (socket.alpnProtocol !== "h2") socket.destroy();
    else injector.injectConnection(socket);
  });
  const stopWatching = options.onTlsChange(() => swapContext());

  function swapContext(): void {
    try {
      tls.setSecureContext(contextOf(options.tls()));
      log.info({}, "TLS key and roots swapped");
    } catch (err) {
      log.error({ err }, "new TLS key and roots are not usable, keeping the old ones");
    }
  }

  tls.listen(options.port, options.host);
  await once(tls, "listening");
  tls.on("error", (err) => log.error({ err }, "gRPC server failed"));
  const { port } = tls.address() as AddressInfo; // a TCP listener's address is never a string
  log.info({ host: options.host, port }, "gRPC server listening");

  async function close(): Promise<void> {
    stopWatching();
    const closed = once(tls, "close");
    tls.close();
    injector.drain(closeGraceMs);
    const force = setTimeout(() => {
      grpc.forceShutdown();
      for (const socket of sockets) socket.destroy();
    }, closeGraceMs);
    await closed;
    clearTimeout(force);
    grpc.forceShutdown();
  }
  return { port, close };
}

/** The part of a grpc-js server call that is looked at. */
interface AuthenticatedCall {
  getAuthContext(): { readonly transportSecurityType?: string; readonly sslPeerCertificate?: { readonly raw?: Buffer } };
}

/**
 * The client certificate of the call's connection, chain verified against the roots of the time of the handshake; null when there is none that
 * verified. grpc-js gives it only for an `authorized` TLS socket (server-interceptors.ts of 1.14), so an unverified one fails closed.
 * What the certificate may be used for is checked by core/x509/peer-check.ts.
 */
export function peerCertificate(call: AuthenticatedCall): X509Certificate | null {
  const raw = call.getAuthContext().sslPeerCertificate?.raw;
  return raw === undefined ? null : new X509Certificate(raw);
}

const HANDSHAKE = {
  ALPNProtocols: ["h2"],
  requestCert: true,
  rejectUnauthorized: false,
  handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
} as const satisfies TlsOptions;

function contextOf({ key, cert, ca }: GrpcServerTls): TlsOptions {
  // A resumed session would bring back a verdict on the client from before roots changed or its certificate ended.
  return { key, cert, ca, minVersion: "TLSv1.3", secureOptions: constants.SSL_OP_NO_TICKET };
}

function createGrpc(services: readonly GrpcService[]): Server {
  const grpc = new Server({
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_send_message_length": 4 * MAX_MESSAGE_BYTES,
    "grpc.max_concurrent_streams": MAX_CONCURRENT_STREAMS,
    "grpc.keepalive_time_ms": KEEPALIVE_TIME_MS,
    "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_MS,
    "grpc.enable_channelz": 0,
  });
  for (const { definition, implementation } of services) grpc.addService(definition, implementation);
  return grpc;
}

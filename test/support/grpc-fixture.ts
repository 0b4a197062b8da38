// The fixture of the gRPC tests of the engines: a real gRPC server as the app, a real client, and a client that writes its own HTTP/2.
import { once } from "node:events";
import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectHttp2, type IncomingHttpHeaders } from "node:http2";
import { connect as connectTls, type TLSSocket } from "node:tls";
import {
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientUnaryCall,
  Metadata,
  type ServiceError,
  type StatusObject,
} from "@grpc/grpc-js";
import t, { type Test } from "tap";
import { sniFor } from "../../core/spiffe.ts";
import type { EngineName } from "../../sidecar/engine.ts";
import { type EchoServer, echoClient, startEchoServer } from "./echo-grpc.ts";
import { MeshFixture } from "./mesh-fixture.ts";
import type { MeshPair, MeshPairOptions } from "./mesh-pair.ts";

type Tap = { teardown(run: () => unknown): void };
type Client = ReturnType<typeof echoClient>;

/** An app that echoes, a pair in front of it, and a client of the caller's app. */
export interface Grpc {
  readonly app: EchoServer;
  readonly pair: MeshPair;
  readonly client: Client;
}

/** A mesh for one test of gRPC. */
export class GrpcMesh extends MeshFixture {
  readonly #t: Test;
  readonly #clients: Client[] = [];

  constructor(t: Test, engine: EngineName) {
    super(t, engine);
    this.#t = t;
  }

  /** A pair in front of an echo server. */
  async echo(options: Partial<MeshPairOptions> = {}): Promise<Grpc> {
    const app = await startEchoServer();
    this.#t.teardown(() => app.close());
    const pair = await this.pairFor(app.port, { protocol: "grpc", ...options });
    const client = echoClient(pair.outboundPort, "orders");
    this.#clients.push(client);
    return { app, pair, client };
  }

  override leavesNothing(): Promise<void> {
    for (const client of this.#clients) client.close();
    return super.leavesNothing();
  }
}

/** Registers a test for one engine, which fails too when it leaves a call or a connection behind. */
export type GrpcTest = (name: string, run: (t: Test, mesh: GrpcMesh) => Promise<void>) => void;

/** Makes the `test` of one engine. */
export function grpcTests(engine: EngineName, options: { readonly skip?: string | false } = {}): GrpcTest {
  return (name, run) => {
    t.test(`${engine}: ${name}`, options, async (t) => {
      const mesh = new GrpcMesh(t, engine);
      await run(t, mesh);
      await mesh.leavesNothing();
    });
  };
}

/** What {@link unary} gives. */
export interface UnaryAnswer {
  readonly error: ServiceError | null;
  readonly value: Buffer | null;
  readonly trailers: Metadata;
}

/** One unary call. */
export function unary(client: Client, message: Buffer, metadata = new Metadata(), deadlineMs = 5000): Promise<UnaryAnswer> {
  return new Promise((resolve) => {
    let trailers = new Metadata();
    const call = (client as unknown as Record<string, (...args: unknown[]) => ClientUnaryCall>)["Unary"]?.(
      message,
      metadata,
      { deadline: Date.now() + deadlineMs },
      (error: ServiceError | null, value: Buffer | undefined) => setImmediate(() => resolve({ error, value: value ?? null, trailers })),
    );
    call?.on("status", (end: StatusObject) => {
      trailers = end.metadata;
    });
  });
}

/** The end of a call. Not `once`: it rejects when the call also emits `error`. */
export function statusOf(call: ClientDuplexStream<Buffer, Buffer> | ClientReadableStream<Buffer>): Promise<StatusObject> {
  return new Promise((resolve) => call.once("status", resolve));
}

/** A client with a good certificate that writes its own HTTP/2: what a compromised workload could send. */
export async function meshSession(t: Tap, pair: MeshPair, appPort: number): Promise<{ session: ClientHttp2Session; socket: TLSSocket }> {
  const { certificateChainPem, privateKeyPem, rootsPem } = pair.caller.current();
  const socket = connectTls({
    host: "127.0.0.1",
    port: pair.inboundPort,
    cert: certificateChainPem,
    key: privateKeyPem,
    ca: rootsPem,
    servername: sniFor(pair.callee.identity, appPort),
    ALPNProtocols: ["remora/h2"],
    checkServerIdentity: () => undefined,
  });
  await once(socket, "secureConnect");
  const session = connectHttp2("http://orders", { createConnection: () => socket });
  session.on("error", () => {});
  t.teardown(() => session.destroy());
  return { session, socket };
}

/** Calls with fields and a body as they are; gives the `grpc-status`, or `none`. */
export async function grpcStatusOf(session: ClientHttp2Session, fields: readonly string[], body: Buffer): Promise<string> {
  const stream: ClientHttp2Stream = session.request(fields as unknown as IncomingHttpHeaders);
  stream.on("error", () => {});
  let found = "none";
  const note = (headers: IncomingHttpHeaders) => {
    if (headers["grpc-status"] !== undefined) found = String(headers["grpc-status"]);
  };
  stream.on("response", note);
  stream.on("trailers", note);
  stream.resume();
  stream.end(body);
  await new Promise((resolve) => stream.once("close", resolve));
  return found;
}

// A gRPC service with all four kinds of call, on plain bytes: no .proto, so that tests need no generated types.
import {
  type ChannelOptions,
  credentials,
  type handleBidiStreamingCall,
  type handleClientStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
  makeGenericClientConstructor,
  Metadata,
  Server,
  ServerCredentials,
  type ServiceDefinition,
  status,
} from "@grpc/grpc-js";

const bytes = (value: Buffer) => value;
const method = (name: string, requestStream: boolean, responseStream: boolean) => ({
  path: `/test.Echo/${name}`,
  requestStream,
  responseStream,
  requestSerialize: bytes,
  requestDeserialize: bytes,
  responseSerialize: bytes,
  responseDeserialize: bytes,
});

/** `Unary` echoes, `Collect` concatenates, `Repeat` sends its request N times (N in metadata `times`), `Chat` echoes each message. */
export const echoService: ServiceDefinition = {
  Unary: method("Unary", false, false),
  Collect: method("Collect", true, false),
  Repeat: method("Repeat", false, true),
  Chat: method("Chat", true, true),
};

/** A running server. */
export interface EchoServer {
  readonly port: number;
  /** Metadata of each call that reached a handler, in order. */
  readonly calls: Metadata[];
  close(): void;
}

/** Starts the service on loopback. Answers carry `seen-bin` as trailer: the `tag-bin` of the request, reversed. */
export async function startEchoServer(host = "127.0.0.1", port = 0): Promise<EchoServer> {
  const calls: Metadata[] = [];
  const server = new Server({ "grpc.max_receive_message_length": 64 * 1024 * 1024 });

  function trailersOf(metadata: Metadata): Metadata {
    calls.push(metadata);
    const trailers = new Metadata();
    const [tag] = metadata.get("tag-bin");
    if (Buffer.isBuffer(tag)) trailers.set("seen-bin", Buffer.from(tag).reverse());
    return trailers;
  }

  const unary: handleUnaryCall<Buffer, Buffer> = (call, done) => {
    const trailers = trailersOf(call.metadata);
    const [fail] = call.metadata.get("fail");
    if (fail !== undefined) return done({ code: status.FAILED_PRECONDITION, details: `told to fail: ${fail}`, metadata: trailers });
    done(null, call.request, trailers);
  };
  const collect: handleClientStreamingCall<Buffer, Buffer> = (call, done) => {
    const trailers = trailersOf(call.metadata);
    const parts: Buffer[] = [];
    call.on("data", (part: Buffer) => parts.push(part));
    call.on("end", () => done(null, Buffer.concat(parts), trailers));
    call.on("error", () => {});
  };
  const repeat: handleServerStreamingCall<Buffer, Buffer> = async (call) => {
    const trailers = trailersOf(call.metadata);
    const times = Number(call.metadata.get("times")[0] ?? 3);
    for (let index = 0; index < times && !call.cancelled; index++) {
      if (!call.write(call.request)) await new Promise((resolve) => call.once("drain", resolve));
    }
    call.end(trailers);
  };
  const chat: handleBidiStreamingCall<Buffer, Buffer> = (call) => {
    const trailers = trailersOf(call.metadata);
    call.on("data", (part: Buffer) => call.write(part));
    call.on("end", () => call.end(trailers));
    call.on("error", () => {});
  };
  server.addService(echoService, { Unary: unary, Collect: collect, Repeat: repeat, Chat: chat });
  const bound = await new Promise<number>((resolve, reject) =>
    server.bindAsync(`${host}:${port}`, ServerCredentials.createInsecure(), (error, actual) =>
      error === null ? resolve(actual) : reject(error),
    ),
  );
  return { port: bound, calls, close: () => server.forceShutdown() };
}

/** A client that calls `authority` through the sidecar at `port`. Close it with `close()`. */
export function echoClient(port: number, authority: string, options: ChannelOptions = {}) {
  const Client = makeGenericClientConstructor(echoService, "Echo");
  return new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
    "grpc.default_authority": authority,
    "grpc.max_receive_message_length": 64 * 1024 * 1024,
    "grpc.use_local_subchannel_pool": 1,
    ...options,
  });
}

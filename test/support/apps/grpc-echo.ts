// A gRPC app that knows nothing of the mesh: echoes messages and metadata (as `echo-…`), sends trailers, and prints a line for every call that
// reaches it, so that a test can tell that one did not. Listens on PORT (default 9090).
import * as grpc from "@grpc/grpc-js";
import { Echo, type Message } from "./echo-service.ts";

const ECHOED = /^(x-|custom|mesh-)/;

function saw(method: string, metadata: grpc.Metadata): void {
  process.stdout.write(`${JSON.stringify({ call: method, metadata: metadata.getMap() })}\n`);
}

function echoed(metadata: grpc.Metadata): grpc.Metadata {
  const copy = new grpc.Metadata();
  for (const [name, value] of Object.entries(metadata.getMap())) if (ECHOED.test(name)) copy.set(`echo-${name}`, value);
  return copy;
}

function trailers(count: number): grpc.Metadata {
  const metadata = new grpc.Metadata();
  metadata.set("count", String(count));
  metadata.set("checksum-bin", Buffer.from([0, 1, 2, 0xff]));
  return metadata;
}

const server = new grpc.Server();
server.addService(Echo.service, {
  Unary(call: grpc.ServerUnaryCall<Message, Message>, done: grpc.sendUnaryData<Message>) {
    saw("Unary", call.metadata);
    call.sendMetadata(echoed(call.metadata));
    done(null, call.request, trailers(1));
  },
  ServerStream(call: grpc.ServerWritableStream<Message, Message>) {
    saw("ServerStream", call.metadata);
    call.sendMetadata(echoed(call.metadata));
    for (let i = 0; i < 5; i += 1) call.write({ text: `${call.request.text} ${i}`, data: call.request.data });
    call.end(trailers(5));
  },
  ClientStream(call: grpc.ServerReadableStream<Message, Message>, done: grpc.sendUnaryData<Message>) {
    saw("ClientStream", call.metadata);
    const texts: string[] = [];
    call.on("data", (message: Message) => texts.push(message.text));
    call.on("end", () => done(null, { text: texts.join(","), data: Buffer.alloc(0) }, trailers(texts.length)));
  },
  Bidi(call: grpc.ServerDuplexStream<Message, Message>) {
    saw("Bidi", call.metadata);
    call.sendMetadata(echoed(call.metadata));
    let count = 0;
    call.on("data", (message: Message) => {
      count += 1;
      call.write(message);
    });
    call.on("end", () => call.end(trailers(count)));
  },
  Fail(call: grpc.ServerUnaryCall<Message, Message>, done: grpc.sendUnaryData<Message>) {
    saw("Fail", call.metadata);
    const metadata = new grpc.Metadata();
    metadata.set("why-bin", Buffer.from("because"));
    done({ code: grpc.status.FAILED_PRECONDITION, details: "not today, 100 %", metadata });
  },
});
const port = process.env["PORT"] ?? "9090";
server.bindAsync(`[::]:${port}`, grpc.ServerCredentials.createInsecure(), (error) => {
  if (error !== null) throw error;
  process.stdout.write(`listening on ${port}\n`);
});
process.on("SIGTERM", () => server.tryShutdown(() => process.exit(0)));

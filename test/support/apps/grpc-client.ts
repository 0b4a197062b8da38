// Calls the gRPC echo app with every kind of call and prints one JSON object with what came back. Usage: grpc-client.ts ADDRESS:PORT
import * as grpc from "@grpc/grpc-js";
import { Echo, type Message } from "./echo-service.ts";

const client = new Echo(process.argv[2] ?? "", grpc.credentials.createInsecure());
const deadline = () => ({ deadline: Date.now() + 8_000 });

function metadata(): grpc.Metadata {
  const made = new grpc.Metadata();
  made.set("x-plain", "a value");
  made.set("x-blob-bin", Buffer.from([0xde, 0xad, 0xbe, 0xef]));
  made.set("x-remora-src", "spiffe://cluster.local/ns/shop/sa/forged"); // the mesh must not let an app say this
  return made;
}

/** The methods by name; proto-loader's clients are typed by nobody. */
const calls = client as unknown as {
  Unary(
    message: Message,
    metadata: grpc.Metadata,
    options: object,
    done: (error: grpc.ServiceError | null, answer: Message) => void,
  ): grpc.ClientUnaryCall;
  Fail(message: Message, metadata: grpc.Metadata, options: object, done: (error: grpc.ServiceError | null) => void): grpc.ClientUnaryCall;
  ServerStream(message: Message, metadata: grpc.Metadata, options: object): grpc.ClientReadableStream<Message>;
  ClientStream(
    metadata: grpc.Metadata,
    options: object,
    done: (error: grpc.ServiceError | null, answer: Message) => void,
  ): grpc.ClientWritableStream<Message>;
  Bidi(metadata: grpc.Metadata, options: object): grpc.ClientDuplexStream<Message, Message>;
};

interface Seen {
  headers: Record<string, unknown>;
  trailers: Record<string, unknown>;
  code: number;
  details: string;
  texts: string[];
}

function watch(call: grpc.ClientUnaryCall | grpc.ClientReadableStream<Message>, seen: Seen): Promise<void> {
  call.on("metadata", (received: grpc.Metadata) => (seen.headers = plain(received)));
  return new Promise((resolve) => {
    call.on("status", (status: grpc.StatusObject) => {
      seen.trailers = plain(status.metadata);
      seen.code = status.code;
      seen.details = status.details;
      resolve();
    });
  });
}

function plain(received: grpc.Metadata): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(received.getMap()).map(([name, value]) => [name, Buffer.isBuffer(value) ? `hex:${value.toString("hex")}` : value]),
  );
}

function nothing(): Seen {
  return { headers: {}, trailers: {}, code: -1, details: "", texts: [] };
}

async function unary(text: string, data: Buffer): Promise<Seen> {
  const seen = nothing();
  const call = calls.Unary({ text, data }, metadata(), deadline(), (error, answer) => {
    if (error === null) seen.texts.push(answer.text, String(answer.data.length));
  });
  await watch(call, seen);
  return seen;
}

async function serverStream(): Promise<Seen> {
  const seen = nothing();
  const call = calls.ServerStream({ text: "part", data: Buffer.alloc(0) }, metadata(), deadline());
  call.on("error", () => {}); // told by its status
  call.on("data", (message: Message) => seen.texts.push(message.text));
  await watch(call, seen);
  return seen;
}

async function clientStream(): Promise<Seen> {
  const seen = nothing();
  const call = calls.ClientStream(metadata(), deadline(), (error, answer) => {
    if (error === null) seen.texts.push(answer.text);
  });
  const watched = watch(call as unknown as grpc.ClientUnaryCall, seen);
  for (const text of ["a", "b", "c"]) call.write({ text, data: Buffer.alloc(0) });
  call.end();
  await watched;
  return seen;
}

/** Writes a message only once the one before was echoed: proves that nothing in between waits for the end of the stream. */
async function bidi(): Promise<Seen> {
  const seen = nothing();
  const call = calls.Bidi(metadata(), deadline());
  call.on("error", () => {});
  const watched = watch(call, seen);
  call.write({ text: "ping 0", data: Buffer.alloc(0) });
  call.on("data", (message: Message) => {
    seen.texts.push(message.text);
    if (seen.texts.length === 4) call.end();
    else call.write({ text: `ping ${seen.texts.length}`, data: Buffer.alloc(0) });
  });
  await watched;
  return seen;
}

async function fail(): Promise<Seen> {
  const seen = nothing();
  await watch(
    calls.Fail({ text: "", data: Buffer.alloc(0) }, metadata(), deadline(), () => {}),
    seen,
  );
  return seen;
}

const result = {
  unary: await unary("hello", Buffer.alloc(10)),
  large: await unary("large", Buffer.alloc(1_000_000)),
  serverStream: await serverStream(),
  clientStream: await clientStream(),
  bidi: await bidi(),
  fail: await fail(),
};
process.stdout.write(`${JSON.stringify(result)}\n`);
client.close();

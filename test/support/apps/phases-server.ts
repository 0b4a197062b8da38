// A gRPC server on grpc-js that stops where it is told to. Metadata `at` is a phase and what is done there: `headers wait` or `half-close abort`. It tells by one
// line each which calls came that far and which were cancelled. `Unary`, `Collect`, `Repeat` (as often as `times` says) and `Chat` do what echo-grpc.ts says; metadata
// `x-big…` and `x-tag…` comes back as headers and as trailers; `make-headers` and `make-trailers` are bytes to add of the own. Usage: phases-server.ts PORT
import { once } from "node:events";
import { Metadata, Server, ServerCredentials, type ServerDuplexStream, status } from "@grpc/grpc-js";
import { echoService } from "../echo-grpc.ts";

type Call = ServerDuplexStream<Buffer, Buffer>;
type Phase = "start" | "headers" | "message" | "half-close" | "answer";

function say(what: string, call: Call): void {
  process.stdout.write(`${what} ${call.metadata.get("call")[0]}\n`);
}

/** Goes on, waits for ever, or throws the status that the call is to end with. */
async function reach(phase: Phase, call: Call): Promise<void> {
  const [order] = call.metadata.get("at");
  if (order === `${phase} wait`) {
    say("reached", call);
    await new Promise(() => {});
  }
  if (order !== `${phase} abort`) return;
  say("reached", call);
  const metadata = new Metadata();
  metadata.set("x-why-bin", Buffer.from([0, 255]));
  throw { code: status.ABORTED, details: `aborted at ${phase}, 100 %`, metadata };
}

async function write(call: Call, message: Buffer): Promise<void> {
  if (!call.write(message)) await once(call, "drain");
}

/** What the client asked to get back, and what it asked for besides. */
function answered(call: Call, besides: string): Metadata {
  const metadata = new Metadata();
  for (const name of Object.keys(call.metadata.getMap()))
    if (/^x-(big|tag)/.test(name)) for (const value of call.metadata.get(name)) metadata.add(name, value);
  const [bytes] = call.metadata.get(besides);
  if (bytes !== undefined) metadata.set("x-made", "m".repeat(Number(bytes)));
  return metadata;
}

async function answer(method: string, call: Call): Promise<void> {
  await reach("start", call);
  call.sendMetadata(answered(call, "make-headers"));
  await reach("headers", call);
  const received: Buffer[] = [];
  // As it is, iterating ends the other side with the request.
  for await (const message of call.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    received.push(message);
    if (method === "Chat") await write(call, message);
    if (received.length === 1) await reach("message", call);
  }
  await reach("half-close", call);
  await answerWhole(method, call, received);
  call.end(answered(call, "make-trailers"));
}

async function answerWhole(method: string, call: Call, received: readonly Buffer[]): Promise<void> {
  const [first = Buffer.alloc(0)] = received;
  if (method === "Unary") await write(call, first);
  if (method === "Collect") await write(call, Buffer.concat(received));
  if (method !== "Repeat") return;
  for (let index = 0; index < Number(call.metadata.get("times")[0] ?? 3); index += 1) {
    await write(call, first);
    if (index === 0) await reach("answer", call);
  }
}

const server = new Server({ "grpc.max_receive_message_length": 64 * 1024 * 1024, "grpc-node.max_session_memory": 1024 });
// Of one kind to the server: what a call may do in which phase is the client's side of it.
const service = Object.fromEntries(
  Object.entries(echoService).map(([name, method]) => [name, { ...method, requestStream: true, responseStream: true }]),
);
server.addService(
  service,
  Object.fromEntries(
    Object.keys(service).map((method) => [
      method,
      (call: Call) => {
        call.once("cancelled", () => say("cancelled", call));
        answer(method, call).catch((end: Error) => call.emit("error", end));
      },
    ]),
  ),
);
server.bindAsync(`127.0.0.1:${process.argv[2] ?? "0"}`, ServerCredentials.createInsecure(), (error, port) => {
  if (error !== null) throw error;
  process.stdout.write(`listening on ${port}\n`);
});

// The methods that a server serves, by path, and how a call of each kind reaches its handler.
import type { MethodDefinition } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import type { CallStatus } from "../core/wire/server-call.ts";
import { FlatFields, NO_EDIT } from "../sidecar/fields.ts";
import type { HeaderList } from "../sidecar/http2/header-list.ts";
import type { Stream } from "../sidecar/http2/stream.ts";
import type { Admission } from "./admission.ts";
import { ServerCall } from "./call.ts";
import type { Peer } from "./connection.ts";
import type { GrpcService } from "./server.ts";

/** Begins a call on a stream. */
export type Serve = (stream: Stream, path: string, head: HeaderList, peer: Peer, isEnd: boolean) => void;

type Method = MethodDefinition<unknown, unknown>;
/** Begins to handle a call. */
type Handle = (call: ServerCall) => void;

/** Indexes the methods of `services`. A method without a handler is answered as unknown; `admission` null: handlers alone decide who may call. */
export function serveMethods(services: readonly GrpcService[], maxMessageBytes: number, admission: Admission | null): Serve {
  const methods = new Map<string, { readonly method: Method; readonly handle: Handle }>();
  for (const { definition, implementation } of services) {
    for (const [name, method] of Object.entries(definition)) {
      const handler = (implementation as Readonly<Record<string, unknown>>)[method.originalName ?? name];
      if (typeof handler === "function") methods.set(method.path, { method, handle: handleOf(method, handler) });
    }
  }

  return (stream, path, head, peer, isEnd) => {
    const found = methods.get(path);
    if (found === undefined) return stream.sendAnswer("200", UNKNOWN_METHOD, NO_EDIT, true);
    const call = new ServerCall(stream, found.method, peer, maxMessageBytes);
    if (admission !== null && !admission.admit(call, head.bytes)) return;
    found.handle(call);
    if (isEnd) call.onClientEnd();
  };
}

const UNKNOWN_METHOD = new FlatFields([
  "content-type",
  "application/grpc",
  "grpc-status",
  String(status.UNIMPLEMENTED),
  "grpc-message",
  "no such method is served here",
]);

/** Handlers are typed for grpc-js's calls; those here have of them what ours touch. */
function handleOf(method: Method, handler: object): Handle {
  const handle = handler as unknown as (call: object, done?: (error: CallStatus | null, answer?: unknown) => void) => void;
  return method.requestStream ? (call) => handle(call) : (call) => withRequest(call, method, handle);
}

/** Waits for the one message that the client sends. */
function withRequest(
  call: ServerCall,
  method: Method,
  handle: (call: object, done: (error: CallStatus | null, answer?: unknown) => void) => void,
): void {
  let request: unknown;
  call.on("data", (message: unknown) => {
    if (request !== undefined) return call.finish({ code: status.INVALID_ARGUMENT, details: "more than one message" });
    request = message;
  });
  call.on("end", () => {
    if (call.writableEnded) return;
    if (request === undefined) return call.finish({ code: status.INVALID_ARGUMENT, details: "no message" });
    handle(Object.assign(call, { request }), (error, answer) => {
      if (error !== null) return call.finish(error);
      if (!method.responseStream) call.write(answer);
      call.end();
    });
  });
}

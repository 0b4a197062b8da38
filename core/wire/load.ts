// The control plane's services as grpc-js wants them: paths, kinds of call and encodings, the same as identity.proto and registry.proto say. Numbers
// arrive as numbers (all fit 2^53), enums as their names, bytes as Buffers, absent fields as their defaults. The types of messages are in
// identity.ts and registry.ts.
import type { MethodDefinition, ServiceDefinition } from "@grpc/grpc-js";
import type { IdentityHandlers } from "./identity.ts";
import { certifyRequest, certifyResponse, trustBundle, watchTrustRequest } from "./identity-messages.ts";
import type { MessageType } from "./message.ts";
import { heartbeatRequest, heartbeatResponse, watchRequest, watchUpdate } from "./registry-messages.ts";

/** `remora.v1.Identity`. */
export const identityService: ServiceDefinition<IdentityHandlers> = {
  Certify: method("Identity/Certify", certifyRequest, certifyResponse, { requests: "one", responses: "one" }),
  WatchTrust: method("Identity/WatchTrust", watchTrustRequest, trustBundle, { requests: "one", responses: "many" }),
} as unknown as ServiceDefinition<IdentityHandlers>; // grpc-js finds the handler `certify` of method `Certify` by its originalName

/** `remora.v1.Registry`. */
export const registryService: ServiceDefinition = {
  Heartbeat: method("Registry/Heartbeat", heartbeatRequest, heartbeatResponse, { requests: "many", responses: "many" }),
  Watch: method("Registry/Watch", watchRequest, watchUpdate, { requests: "many", responses: "many" }),
} as unknown as ServiceDefinition;

function method<Request, Response>(
  path: string,
  request: MessageType<Request>,
  response: MessageType<Response>,
  { requests, responses }: { readonly requests: "one" | "many"; readonly responses: "one" | "many" },
): MethodDefinition<Request, Response> {
  const name = path.slice(path.indexOf("/") + 1);
  return {
    path: `/remora.v1.${path}`,
    requestStream: requests === "many",
    responseStream: responses === "many",
    requestSerialize: (own) => request.encode(own),
    requestDeserialize: (bytes) => request.decode(bytes),
    responseSerialize: (own) => response.encode(own),
    responseDeserialize: (bytes) => response.decode(bytes),
    originalName: name.charAt(0).toLowerCase() + name.slice(1),
  };
}

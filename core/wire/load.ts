// The control plane's services as grpc-js wants them, read from the .proto files beside this one. int64 arrive as numbers (all fit 2^53), enums as
// their names, bytes as Buffers, absent fields as their defaults, field names in camelCase. The message types are in identity.ts and registry.ts.
import { fileURLToPath } from "node:url";
import { type GrpcObject, loadPackageDefinition, type ServiceDefinition } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import type { IdentityHandlers } from "./identity.ts";
import type { RegistryHandlers } from "./registry.ts";

const OPTIONS = { longs: Number, enums: String, bytes: Buffer, defaults: true, oneofs: true, keepCase: false } as const;

/** `remora.v1.Identity`. */
export const identityService: ServiceDefinition<IdentityHandlers> = load("identity.proto", "Identity");

/** `remora.v1.Registry`. */
export const registryService: ServiceDefinition<RegistryHandlers> = load("registry.proto", "Registry");

function load<Handlers>(file: string, service: string): ServiceDefinition<Handlers> {
  const path = fileURLToPath(new URL(file, import.meta.url));
  const loaded = loadPackageDefinition(loadSync(path, OPTIONS)) as { remora: { v1: GrpcObject } };
  const client = loaded.remora.v1[service];
  if (typeof client !== "function") throw new Error(`${file} has no service ${service}`);
  // The handler types mirror the .proto file; test/core/wire checks that they do.
  return client.service as unknown as ServiceDefinition<Handlers>;
}

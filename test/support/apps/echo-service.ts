// The gRPC echo service's definition and messages, for the test app and its clients.
import { join } from "node:path";
import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

export interface Message {
  readonly text: string;
  readonly data: Buffer;
}

interface Loaded {
  readonly remora: { readonly test: { readonly Echo: grpc.ServiceClientConstructor } };
}

/** Client class and, at `.service`, the server's definition. */
export const Echo = (
  grpc.loadPackageDefinition(loadSync(join(import.meta.dirname, "echo.proto"), { longs: Number, defaults: true })) as unknown as Loaded
).remora.test.Echo; // the loader's types know no names

import { grpcCalls } from "./grpc-calls.ts";
import { grpcSignatures } from "./grpc-signatures.ts";

grpcCalls("splice");
grpcSignatures("splice");

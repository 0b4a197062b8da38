import { grpcRetries } from "./grpc-retries.ts";

grpcRetries("compat");

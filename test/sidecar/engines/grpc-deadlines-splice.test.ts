import { grpcDeadlines } from "./grpc-deadlines.ts";

grpcDeadlines("splice");

import { grpcDeadlines } from "./grpc-deadlines.ts";

grpcDeadlines("compat");

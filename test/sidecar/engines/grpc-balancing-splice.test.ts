import { grpcBalancing } from "./grpc-balancing.ts";

grpcBalancing("splice");

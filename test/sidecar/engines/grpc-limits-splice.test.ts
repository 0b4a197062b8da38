import { grpcLimits } from "./grpc-limits.ts";

grpcLimits("splice");

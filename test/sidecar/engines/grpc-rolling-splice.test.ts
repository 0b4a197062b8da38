import { grpcRolling } from "./grpc-rolling.ts";

grpcRolling("splice");

import { grpcPeers } from "./grpc-peers.ts";

grpcPeers("splice");

import { http2Peers } from "./http2-peers.ts";

http2Peers("splice");

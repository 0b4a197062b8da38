import { http1SlowPeers } from "./http1-slow-peers.ts";

http1SlowPeers("splice");

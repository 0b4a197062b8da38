import { http1SlowPeers } from "./http1-slow-peers.ts";
import { http1Tunnels } from "./http1-tunnels.ts";

http1Tunnels("splice");
http1SlowPeers("splice");

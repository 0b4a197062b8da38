import { http1Tunnels } from "./http1-tunnels.ts";

http1Tunnels("splice");

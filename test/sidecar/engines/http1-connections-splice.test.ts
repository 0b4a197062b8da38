import { http1Connections } from "./http1-connections.ts";

http1Connections("splice");

import { http2Clients } from "./http2-clients.ts";

http2Clients("splice");

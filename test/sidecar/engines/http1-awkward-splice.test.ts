import { http1Apps } from "./http1-apps.ts";
import { http1Clients } from "./http1-clients.ts";

http1Clients("splice");
http1Apps("splice");

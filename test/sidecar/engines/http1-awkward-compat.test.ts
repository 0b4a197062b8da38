import { http1Apps } from "./http1-apps.ts";
import { http1Clients } from "./http1-clients.ts";

http1Clients("compat");
http1Apps("compat");

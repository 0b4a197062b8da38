import { http2Messages } from "./http2-messages.ts";
import { http2Apps } from "./http2-apps.ts";

http2Messages("compat");
http2Apps("compat");

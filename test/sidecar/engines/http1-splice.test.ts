import { http1Messages } from "./http1-messages.ts";
import { http1Stages } from "./http1-stages.ts";

http1Stages("splice");
http1Messages("splice");

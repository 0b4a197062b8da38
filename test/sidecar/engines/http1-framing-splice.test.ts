import { http1Framing } from "./http1-framing.ts";
import { http1Interim } from "./http1-interim.ts";

http1Interim("splice");
http1Framing("splice");

import { http1Endings } from "./http1-endings.ts";

http1Endings("splice");

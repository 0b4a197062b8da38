import { http1Deadlines } from "./http1-deadlines.ts";

http1Deadlines("splice");

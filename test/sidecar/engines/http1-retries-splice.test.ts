import { http1Retries } from "./http1-retries.ts";

http1Retries("splice");

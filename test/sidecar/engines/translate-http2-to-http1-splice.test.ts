import { translateHttp2ToHttp1 } from "./translate-http2-to-http1.ts";

translateHttp2ToHttp1("splice");

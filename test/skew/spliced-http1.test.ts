import { SPLICED_HTTP1 } from "./old-build.ts";
import { testSkew } from "./skew.ts";

testSkew(SPLICED_HTTP1);

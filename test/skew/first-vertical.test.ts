import { FIRST_VERTICAL } from "./old-build.ts";
import { testSkew } from "./skew.ts";

testSkew(FIRST_VERTICAL);

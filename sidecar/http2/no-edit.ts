// The edit that leaves every field as it is.
import type { HeadEdit } from "../fields.ts";

/** Changes nothing. */
export const NO_EDIT: HeadEdit = Object.freeze({ strip: 0, nominated: null, added: [], standing: null });

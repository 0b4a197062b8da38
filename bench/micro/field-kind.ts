// Twin of core/field-kind.ts.
import { kindOf, kindOfBytes } from "../../core/field-kind.ts";
import type { Cases } from "./measure.ts";

/** Names as they come on the wire: known in both spellings, ordinary ones of a known length, the mesh's own, a long one. */
const NAMES = {
  host: "Host",
  "content-length": "Content-Length",
  "x-request-id": "x-request-id",
  "ordinary, no known length": "Accept-Encoding-X",
  "ordinary, a known length": "User-Agent",
  "the mesh's": "X-Remora-Anything",
  "the mesh's with _": "X_Remora_Client_Id",
  "64 characters": "x-".padEnd(64, "y"),
};

/** Each name as bytes, and some as texts. */
export function cases(): Cases {
  const asBytes = Object.entries(NAMES).map(([what, name]) => {
    const bytes = Buffer.from(name, "latin1");
    return [what, () => kindOfBytes(bytes, 0, bytes.length)] as const;
  });
  return {
    ...Object.fromEntries(asBytes),
    "text: content-length": () => kindOf(NAMES["content-length"]),
    "text: ordinary": () => kindOf(NAMES["ordinary, a known length"]),
    "text: the mesh's": () => kindOf(NAMES["the mesh's"]),
  };
}

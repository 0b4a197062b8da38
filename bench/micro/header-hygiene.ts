// Twin of sidecar/policy/header-hygiene.ts.
import { parseSpiffeId } from "../../core/spiffe.ts";
import { editedFields, FlatFields, RequestEdit } from "../../sidecar/fields.ts";
import { answerEdit, callerFields, editInbound, editOutbound } from "../../sidecar/policy/header-hygiene.ts";
import type { Cases } from "./measure.ts";

const curl = ["Host", "orders", "User-Agent", "curl/7.88.1", "Accept", "*/*"];
const browser = [
  ...[
    "Host",
    "shop.example",
    "Connection",
    "keep-alive",
    "sec-ch-ua",
    '"Chromium";v="130"',
    "sec-ch-ua-mobile",
    "?0",
    "User-Agent",
    "Mozilla/5.0 (X11; Linux x86_64)",
  ],
  ...[
    "Accept",
    "text/html,application/xhtml+xml",
    "Sec-Fetch-Site",
    "none",
    "Accept-Encoding",
    "gzip, deflate, br",
    "Accept-Language",
    "en",
    "Cookie",
    "a=b; c=d",
  ],
  ...["x-request-id", "0f4c8b52-1d0a-4f8b-8e0e-1b6d1f7f2f11", "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
];
const hostile = Array.from({ length: 100 }, (_, index) => [`X-Remora-${index}`, "a", "Connection", `x-${index}`]).flat();

/** Small, usual and hostile heads. */
export function cases(): Cases {
  const outbound = { requestId: () => "0f4c8b52-1d0a-4f8b-8e0e-1b6d1f7f2f11" };
  const identity = parseSpiffeId("spiffe://cluster.local/ns/shop/sa/orders");
  const caller = parseSpiffeId("spiffe://cluster.local/ns/shop/sa/web");
  const inbound = { ...outbound, caller: callerFields(identity, caller), peerMeshed: true };
  const [few, many, worst] = [curl, browser, hostile].map((flat) => new FlatFields(flat)) as [FlatFields, FlatFields, FlatFields];
  return {
    "outbound, 3 fields": () => editOutbound(few, outbound, new RequestEdit(), null),
    "inbound, 3 fields": () => editInbound(few, inbound, new RequestEdit(), null),
    "inbound, 12 fields": () => editInbound(many, inbound, new RequestEdit(), null),
    "inbound, 12 fields, traced": () =>
      editInbound(many, inbound, new RequestEdit(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    "inbound, 12 fields, as a list": () => {
      const edit = new RequestEdit();
      editInbound(many, inbound, edit, null);
      return editedFields(many, edit);
    },
    "response, 3 fields": () => answerEdit(few, true),
    "inbound, 200 hostile fields": () => editInbound(worst, inbound, new RequestEdit(), null),
  };
}

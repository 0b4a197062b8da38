// Twin of sidecar/policy/header-hygiene.ts.
import { parseSpiffeId } from "../../core/spiffe.ts";
import { childTraceparent } from "../../core/trace-context.ts";
import { inboundHeaders, outboundHeaders, responseHeaders } from "../../sidecar/policy/header-hygiene.ts";
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
  const outbound = { requestId: () => "0f4c8b52-1d0a-4f8b-8e0e-1b6d1f7f2f11", childTraceparent: () => null };
  const identity = parseSpiffeId("spiffe://cluster.local/ns/shop/sa/orders");
  const inbound = { ...outbound, identity, clientIdentity: parseSpiffeId("spiffe://cluster.local/ns/shop/sa/web"), peerMeshed: true };
  const traced = { ...inbound, childTraceparent };
  return {
    "outbound, 3 fields": () => outboundHeaders(curl, outbound),
    "inbound, 3 fields": () => inboundHeaders(curl, inbound),
    "inbound, 12 fields": () => inboundHeaders(browser, inbound),
    "inbound, 12 fields, traced": () => inboundHeaders(browser, traced),
    "response, 6 fields": () => responseHeaders(curl, { fromApp: true }),
    "inbound, 200 hostile fields": () => inboundHeaders(hostile, inbound),
  };
}

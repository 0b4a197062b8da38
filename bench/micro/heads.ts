// Heads and a place to write to, shared by the twins of what reads and writes HTTP/1.1.
import type { Wire } from "../../sidecar/transport/wire.ts";

/** Bytes as they come from a socket: one piece of memory. */
export function bytesOf(...lines: readonly string[]): Buffer {
  return Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
}

/** What curl asks. */
export const CURL = bytesOf("GET /api/orders?id=7 HTTP/1.1", "Host: orders", "User-Agent: curl/8.14.1", "Accept: */*");

/** What a browser asks, 15 fields. */
export const BROWSER = bytesOf(
  "GET /shop/cart HTTP/1.1",
  "Host: shop.example",
  "Connection: keep-alive",
  'sec-ch-ua: "Chromium";v="130", "Not?A_Brand";v="99"',
  "sec-ch-ua-mobile: ?0",
  'sec-ch-ua-platform: "Linux"',
  "Upgrade-Insecure-Requests: 1",
  "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
  "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
  "Sec-Fetch-Site: none",
  "Sec-Fetch-Mode: navigate",
  "Sec-Fetch-Dest: document",
  "Accept-Encoding: gzip, deflate, br, zstd",
  "Accept-Language: en-GB,en;q=0.9",
  "Cookie: session=0f4c8b521d0a4f8b8e0e1b6d1f7f2f11; theme=dark",
  "Cache-Control: max-age=0",
);

/** What the inbound side gets from another sidecar. */
export const MESH = bytesOf(
  "POST /api/orders HTTP/1.1",
  "host: orders:8080",
  "content-type: application/json",
  "content-length: 10240",
  "accept: */*",
  "user-agent: node",
  "x-request-id: 0f4c8b52-1d0a-4f8b-8e0e-1b6d1f7f2f11",
  "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
);

/** As many fields as a head may have. */
export const HUNDRED = bytesOf("GET / HTTP/1.1", "Host: orders", ...Array.from({ length: 99 }, (_, index) => `X-Field-${index}: ${index}`));

/** A wire whose peer takes everything at once: what is left is the work of putting a message together. */
export function swallowingWire(): Wire {
  const stream = { writableLength: 0 };
  // What `outgoing.ts` reads of a wire, and nothing else; a real one needs a connection.
  return { stream, isTls: true, isSocket: true, isWritable: true, isBlocked: false, write: () => {} } as unknown as Wire;
}

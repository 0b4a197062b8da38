// Twin of core/policy/canonical-path.ts and sidecar/policy/path-match.ts.
import { canonicalPath } from "../../core/policy/canonical-path.ts";
import { createPathMatch } from "../../sidecar/policy/path-match.ts";
import type { Cases } from "./measure.ts";

const REST = flat("/api/v1/orders/8f2c1a7e/items?page=2&size=50");
const GRPC = flat("/shop.payments.v1.Payments/Charge");
const LONG = flat(`/${"resources/0f4c8b52-1d0a-4f8b/".repeat(8)}x`);

/** As a parser makes it: one piece of memory, where a concatenation is a tree. */
function flat(path: string): string {
  return Buffer.from(path, "latin1").toString("latin1");
}

/** Slices of a head, as an engine makes them: a path is new for each request, so its text must be read for the first time. */
function fresh(path: string): () => string {
  const head = Buffer.from(`GET ${path} HTTP/1.1\r\n`);
  return () => head.toString("latin1", 4, 4 + path.length);
}

/** Plain paths (the usual case), paths that are canonical but hold escapes, odd ones, a head full of dot segments, a prefix that does not match. */
export function cases(): Cases {
  const made = fresh(REST);
  const outside = createPathMatch("/admin/");
  const hostile = flat(`/${"a/../".repeat(1_600)}`);
  return {
    root: () => canonicalPath("/"),
    "gRPC, 33 characters": () => canonicalPath(GRPC),
    "REST, 31 and a query": () => canonicalPath(REST),
    "long, 234 characters": () => canonicalPath(LONG),
    "a fresh string alone": () => made(),
    "a fresh string, read": () => canonicalPath(made()),
    "canonical, with escapes": () => canonicalPath("/files/caf%C3%A9%20menu"),
    "odd: /x/..//%61pi/orders": () => canonicalPath("/x/..//%61pi/orders"),
    "ambiguous: /a%2Fb": () => canonicalPath("/a%2Fb"),
    "8000 of dot segments": () => canonicalPath(hostile),
    "another prefix": () => outside(REST),
    "another prefix, parameters": () => outside("/api;v=1/orders"),
  };
}

// Writes the head of a request to an upstream that speaks HTTP/2 (RFC 9113 section 8.3.1): the pseudo-header fields as the stages settled them, the others as their
// edit leaves them.
//
// HOT PATH: entries pass by reference.
import { FIELD } from "../../core/field-kind.ts";
import type { Exchange } from "../exchange.ts";
import type { HeadWriter } from "./head-writer.ts";
import type { HeaderList } from "./header-list.ts";
import { HeaderEntry, INDEXING } from "./hpack/header-entry.ts";

/** Most octets of the pseudo-header fields beyond what they came as. */
const PSEUDO_BYTES = 256;

const HTTP = new HeaderEntry(":scheme", "http", INDEXING.indexed);

/** Writes the head of `exchange`, which came as `fields`, on a stream. `isEnd`: nothing follows it. */
export function writeRequest(heads: HeadWriter, id: number, fields: HeaderList, exchange: Exchange, isEnd: boolean): void {
  const { edit } = exchange;
  heads.begin(fields, edit, PSEUDO_BYTES + exchange.path.length + exchange.endpointAddress.length);
  heads.entry(fields.method as HeaderEntry); // a request has one
  if (fields.scheme !== null) heads.entry(HTTP); // what the next hop speaks inside of its TLS
  if (fields.authority !== null) heads.entry(fields.authority);
  else heads.repeated(":authority", exchange.authority === "" ? exchange.endpointAddress : exchange.authority);
  if (fields.path !== null) writePath(heads, fields.path, exchange);
  if (fields.protocol !== null) heads.entry(fields.protocol);
  heads.fields(fields, edit, FIELD.host);
  heads.end(id, isEnd);
}

/** Methods of gRPC are few and repeat: worth a place in the table, though many clients give them none. */
function writePath(heads: HeadWriter, path: HeaderEntry, exchange: Exchange): void {
  if (exchange.grpc && path.indexing === INDEXING.once) heads.repeated(":path", exchange.path);
  else if (exchange.isPathSettledAnew) heads.once(":path", exchange.path);
  else heads.entry(path);
}

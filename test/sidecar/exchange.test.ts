import t from "tap";
import { type ConnectionContext, Exchange, headerValue } from "../../sidecar/exchange.ts";
import { FlatFields } from "../../sidecar/fields.ts";

const connection: ConnectionContext = {
  connectionId: 1,
  direction: "inbound",
  protocol: "http2",
  peer: { identity: null, address: "127.0.0.1", channelBinding: null, told: false },
  port: 80,
};

function headWith(flat: readonly string[]) {
  return { method: "POST", authority: "a", path: "/", isPlainPath: false, fields: new FlatFields(flat) };
}

t.test("a request counts as gRPC by any of its content-types, whatever their case", async (t) => {
  const isGrpc = (...types: string[]) => new Exchange(connection, headWith(types.flatMap((type) => ["Content-Type", type])), 0).grpc;
  for (const type of [
    "application/grpc",
    "application/grpc+proto",
    "application/grpc;v=1",
    "Application/GRPC+json",
    " application/grpc",
    "application/grpc ",
  ]) {
    t.equal(isGrpc(type), true, JSON.stringify(type));
  }
  t.equal(isGrpc("text/plain", "application/grpc"), true, "the second one");
  for (const type of ["application/grpc-web", "application/grpcx", "application/json", ""]) t.equal(isGrpc(type), false, type);
  t.equal(isGrpc(), false, "none");
});

t.test("fields of a flat list are found by lower case name", async (t) => {
  const headers = ["Host", "a", "X-One", "1", "x-one", "2"];
  t.equal(headerValue(headers, "x-one"), "1");
  t.equal(headerValue(headers, "x-two"), null);
});

import t from "tap";
import { beginExchange, type ConnectionContext, headerValue, replaceHeader } from "../../sidecar/exchange.ts";

const connection: ConnectionContext = {
  connectionId: 1,
  direction: "inbound",
  protocol: "http2",
  peer: { identity: null, address: "127.0.0.1", channelBinding: null, told: false },
  port: 80,
};

t.test("a request counts as gRPC by any of its content-types, whatever their case", async (t) => {
  const isGrpc = (...types: string[]) =>
    beginExchange(connection, { method: "POST", authority: "a", path: "/", headers: types.flatMap((type) => ["Content-Type", type]) }, 0)
      .grpc;
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

t.test("fields of a flat list are found and replaced by lower case name", async (t) => {
  const headers = ["Host", "a", "X-One", "1", "x-one", "2"];
  t.equal(headerValue(headers, "x-one"), "1");
  t.equal(headerValue(headers, "x-two"), null);
  replaceHeader(headers, "x-one", "3");
  t.same(headers, ["Host", "a", "X-One", "3", "x-one", "3"]);
});

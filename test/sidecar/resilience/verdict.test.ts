import t from "tap";
import { type ConnectionContext, Exchange, refuse } from "../../../sidecar/exchange.ts";
import { FlatFields } from "../../../sidecar/fields.ts";
import { answerKind, endpointVerdict, pushbackMs } from "../../../sidecar/resilience/verdict.ts";

const CONTEXT: ConnectionContext = {
  connectionId: 1,
  direction: "outbound",
  protocol: "http2",
  peer: { identity: null, address: "127.0.0.1", channelBinding: null, told: true },
  port: 80,
};

function ended(how: Partial<Pick<Exchange, "status" | "grpcStatus" | "refusal" | "peerReason">>, isGrpc = false): Exchange {
  const fields = new FlatFields(isGrpc ? ["content-type", "application/grpc+proto"] : []);
  const exchange = new Exchange(CONTEXT, { method: "POST", authority: "a", path: "/", isPlainPath: true, fields }, 0);
  return Object.assign(exchange, how);
}

t.test("HTTP is judged by its status", async (t) => {
  t.equal(endpointVerdict(ended({ status: 200 }), 5), true);
  t.equal(endpointVerdict(ended({ status: 404 }), 5), true);
  t.equal(endpointVerdict(ended({ status: 500 }), 5), false);
  t.equal(endpointVerdict(ended({ status: 0 }), 5), null, "the client left first");
});

t.test("gRPC is judged by grpc-status", async (t) => {
  for (let code = 0; code <= 16; code += 1) {
    t.equal(
      endpointVerdict(ended({ status: 200, grpcStatus: code }, true), 500),
      ![2, 4, 13, 14, 15].includes(code),
      `grpc-status ${code}`,
    );
  }
  t.equal(endpointVerdict(ended({ status: 200, grpcStatus: 4 }, true), 5), null, "somebody in a hurry is no proof of a slow server");
  t.equal(endpointVerdict(ended({ status: 200 }, true), 5), null, "the client cancelled in the middle");
  t.equal(endpointVerdict(ended({ status: 503 }, true), 5), false, "a proxy that knows no gRPC");
  t.equal(endpointVerdict(ended({ status: 404 }, true), 5), true);
});

t.test("refusals: what speaks of the endpoint, and what is a policy's word", async (t) => {
  for (const reason of ["connect_failed", "overloaded", "draining", "upstream_reset"]) {
    t.equal(endpointVerdict(ended({ status: 503, peerReason: reason }), 5), false, reason);
  }
  for (const reason of ["rate_limited", "forbidden", "unauthenticated", "bad_request"]) {
    t.equal(endpointVerdict(ended({ status: 429, peerReason: reason }), 5), null, reason);
    t.equal(endpointVerdict(ended({ status: 200, grpcStatus: 8, peerReason: reason }, true), 5), null, reason);
  }
  t.equal(endpointVerdict(ended({ status: 200, grpcStatus: 4, peerReason: "timeout" }, true), 5), null);
  t.equal(endpointVerdict(ended({ status: 200, grpcStatus: 4, peerReason: "timeout" }, true), 500), false);
  t.equal(endpointVerdict(ended({ refusal: refuse("upstream_reset"), status: 502 }), 5), false);
  t.equal(endpointVerdict(ended({ refusal: refuse("connect_failed"), status: 502 }), 5), false);
  t.equal(endpointVerdict(ended({ refusal: refuse("timeout"), status: 504 }), 5), false, "a bound that the operator set");
  t.equal(endpointVerdict(ended({ refusal: refuse("timeout", "", [], 408), status: 408 }), 5), null, "the client did not send");
  t.equal(endpointVerdict(ended({ refusal: refuse("overloaded"), status: 503 }), 5), null, "of this sidecar itself");
});

t.test("what may be sent again: what nobody began with, and what failed", async (t) => {
  const plain = ended({});
  const call = ended({}, true);
  for (const reason of ["connect_failed", "overloaded", "draining"]) {
    t.equal(answerKind(plain, 503, -1, reason), "unprocessed");
    t.equal(answerKind(call, 200, 14, reason), "unprocessed");
  }
  t.equal(answerKind(call, 200, 8, "overloaded"), "unprocessed");
  for (const status of [502, 503, 504]) t.equal(answerKind(plain, status, -1, null), "failed");
  for (const status of [200, 404, 429, 500, 501, 505]) t.equal(answerKind(plain, status, -1, null), "final");
  t.equal(answerKind(call, 200, 14, null), "failed");
  t.equal(answerKind(call, 503, -1, null), "failed");
  t.equal(answerKind(call, 200, 14, "upstream_reset"), "failed", "its app may have begun");
  for (const code of [0, 1, 2, 4, 8, 13, 15]) t.equal(answerKind(call, 200, code, null), "final");
  t.equal(answerKind(plain, 504, -1, "timeout"), "final");
  t.equal(answerKind(plain, 429, -1, "rate_limited"), "final");
});

t.test("grpc-retry-pushback-ms: a wait, or no retry at all", async (t) => {
  const of = (value: string) => pushbackMs(new FlatFields(["grpc-retry-pushback-ms", value]));
  t.equal(pushbackMs(new FlatFields([])), 0);
  t.equal(of("0"), 0);
  t.equal(of("250"), 250);
  t.equal(of("10000"), 10_000);
  for (const value of ["-1", "", "soon", "1.5", "10001", "99999999999"]) t.equal(of(value), -1, value);
});

import t from "tap";
import { FlatFields } from "../../sidecar/fields.ts";
import { grpcStatusOf, grpcStatusOfHead, isServerFault } from "../../sidecar/grpc-status.ts";
import { REASONS, type Reason } from "../../core/reasons.ts";
import { refuse } from "../../sidecar/exchange.ts";
import { answerFor, RESCUE } from "../../sidecar/rescue.ts";

t.test("0 to 16; what is no code is UNKNOWN, a head without one has none", async (t) => {
  for (let code = 0; code <= 16; code += 1) t.equal(grpcStatusOf(String(code)), code);
  for (const text of ["", "17", "-1", "1 ", "01", "OK", "1e0", "999999999999"]) t.equal(grpcStatusOf(text), 2, text);
  t.equal(grpcStatusOfHead(new FlatFields(["Grpc-Status", "14"])), 14);
  t.equal(grpcStatusOfHead(new FlatFields(["content-type", "application/grpc"])), -1);
});

t.test("a server's own failures are UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE and DATA_LOSS", async (t) => {
  const faults = Array.from({ length: 18 }, (_, index) => index - 1).filter(isServerFault);
  t.strictSame(faults, [2, 4, 13, 14, 15]);
});

t.test("refusals of gRPC are trailers-only answers: status 200, the right code, a message that needs no percent-encoding", async (t) => {
  const codes: Partial<Record<Reason, number>> = {
    rate_limited: 8,
    overloaded: 8,
    forbidden: 7,
    egress_refused: 7,
    unauthenticated: 16,
    signature_missing: 16,
    no_endpoints: 14,
    connect_failed: 14,
    upstream_reset: 14,
    circuit_open: 14,
    draining: 14,
    timeout: 4,
    bad_request: 13,
  };
  for (const reason of Object.keys(REASONS) as Reason[]) {
    const { status, headers, body } = answerFor(refuse(reason, "a detail"), { grpc: true, told: false });
    const fields = new Map(headers.map((name, index) => [name, headers[index + 1]] as const).filter((_, index) => index % 2 === 0));
    t.strictSame([status, body, fields.get("content-type")], [200, "", "application/grpc"], reason);
    t.equal(fields.get("grpc-status"), String(RESCUE[reason].grpcStatus));
    if (codes[reason] !== undefined) t.equal(RESCUE[reason].grpcStatus, codes[reason], reason);
    // PROTOCOL-HTTP2: 0x20 to 0x7e but for `%` go unescaped.
    t.match(fields.get("grpc-message"), /^[ -$&-~]+$/);
    t.notMatch(headers.join(), /a detail/, "the detail stays here");
  }
});

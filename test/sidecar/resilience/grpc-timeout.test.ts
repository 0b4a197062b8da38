import t from "tap";
import { FlatFields } from "../../../sidecar/fields.ts";
import { formatGrpcTimeout, grpcTimeoutMsOf, parseGrpcTimeoutMs } from "../../../sidecar/resilience/grpc-timeout.ts";

t.test("one to eight digits and a unit", async (t) => {
  const good: readonly [string, number][] = [
    ["1H", 3_600_000],
    ["2M", 120_000],
    ["3S", 3_000],
    ["99999999m", 99_999_999],
    ["250m", 250],
    ["1500u", 1.5],
    ["1n", 1e-6],
    ["0S", 0],
    ["00000001S", 1_000],
  ];
  for (const [text, ms] of good) t.equal(parseGrpcTimeoutMs(text), ms, text);
  for (const text of ["", "S", "1", "1s", "1h", "-1S", "+1S", "1.5S", "123456789m", " 1S", "1S ", "1 S", "1ms", "１S"])
    t.equal(parseGrpcTimeoutMs(text), -1, text);
});

t.test("what is printed is read back, and never longer than what was left", async (t) => {
  for (const ms of [1, 1.9, 250, 999.99, 1_000, 99_999_999, 1e9, 3.6e10]) {
    const text = formatGrpcTimeout(ms);
    t.match(text, /^[0-9]{1,8}[mS]$/);
    t.ok(parseGrpcTimeoutMs(text) <= ms && parseGrpcTimeoutMs(text) > ms - 1_000, `${ms}: ${text}`);
  }
  t.equal(formatGrpcTimeout(-5), "1m");
});

t.test("a head: none, one, and two, of which nobody knows which is meant", async (t) => {
  t.equal(grpcTimeoutMsOf(new FlatFields(["te", "trailers"])), Number.POSITIVE_INFINITY);
  t.equal(grpcTimeoutMsOf(new FlatFields(["te", "trailers", "Grpc-Timeout", "1S"])), 1_000);
  t.equal(grpcTimeoutMsOf(new FlatFields(["grpc-timeout", "1S", "grpc-timeout", "1S"])), -1);
  t.equal(grpcTimeoutMsOf(new FlatFields(["grpc-timeout", "soon"])), -1);
});

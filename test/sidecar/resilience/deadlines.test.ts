import t from "tap";
import { type ConnectionContext, Exchange, type Refusal } from "../../../sidecar/exchange.ts";
import { editedFields, FlatFields } from "../../../sidecar/fields.ts";
import { Deadlines, type TimeBounds, UNBOUNDED } from "../../../sidecar/resilience/deadlines.ts";
import { createFakeClock, type FakeClock } from "../../support/fake-clock.ts";

const CONTEXT: ConnectionContext = {
  connectionId: 1,
  direction: "outbound",
  protocol: "http2",
  peer: { identity: null, address: "127.0.0.1", channelBinding: null, told: true },
  port: 80,
};
const GRPC = ["content-type", "application/grpc", "te", "trailers"];

function exchangeAt(clock: FakeClock, fields: readonly string[]): Exchange {
  const head = { method: "POST", authority: "orders", path: "/shop.Orders/Get", isPlainPath: true, fields: new FlatFields(fields) };
  return new Exchange(CONTEXT, head, clock.monoMs());
}

function setUp(fields: readonly string[], bounds: TimeBounds = UNBOUNDED) {
  const clock = createFakeClock();
  clock.advance(1_000_003);
  const deadlines = new Deadlines(clock);
  const exchange = exchangeAt(clock, fields);
  const given: Refusal[] = [];
  const begin = () => {
    const refusal = deadlines.begin(exchange, bounds);
    exchange.giveUp = (refusal) => given.push(refusal);
    return refusal;
  };
  const sent = () => {
    exchange.edit.beginAttempt();
    deadlines.forward(exchange);
    const flat = editedFields(exchange.head.fields, exchange.edit);
    return flat.filter((_, index) => flat[index - 1] === "grpc-timeout" && index % 2 === 1);
  };
  return { clock, deadlines, exchange, given, begin, sent };
}

t.test("nothing bounds it: nothing is made", async (t) => {
  for (const fields of [GRPC, [], ["grpc-timeout", "1S"]]) {
    const { begin, exchange, clock, sent } = setUp(fields);
    t.equal(begin(), null);
    t.equal(exchange.deadline, null);
    t.equal(clock.armed, 0);
    t.strictSame(sent(), fields.length === 2 ? ["1S"] : [], "what is not gRPC may have a field of that name");
  }
});

t.test("the caller's time ends it, and what is left is forwarded", async (t) => {
  const { begin, clock, given, sent } = setUp([...GRPC, "grpc-timeout", "1S"]);
  t.equal(begin(), null);
  t.strictSame(sent(), ["1S"], "as it came, when no time was spent");
  clock.advance(200);
  t.strictSame(sent(), ["800m"]);
  clock.advance(100);
  t.strictSame(sent(), ["700m"], "a second attempt says what is left by then, once");
  clock.advance(699);
  t.strictSame(given, []);
  clock.advance(10);
  t.match(given, [{ reason: "timeout", detail: "not complete within 1000 ms, the time of its caller" }]);
});

t.test("the route's time ends it when it is shorter, also for what is not gRPC; the next hop of gRPC is told", async (t) => {
  const bounds = { timeoutMs: 300, answerTimeoutMs: 0 };
  const call = setUp([...GRPC, "grpc-timeout", "1S"], bounds);
  t.equal(call.begin(), null);
  t.strictSame(call.sent(), ["300m"]);
  call.clock.advance(310);
  t.match(call.given, [{ reason: "timeout", detail: "not complete within 300 ms, the time of its route" }]);
  const plain = setUp([], bounds);
  t.equal(plain.begin(), null);
  t.strictSame(plain.sent(), []);
  plain.clock.advance(310);
  t.equal(plain.given.length, 1);
});

t.test("the answer's head has a time of its own; then the whole has", async (t) => {
  const bounds = { timeoutMs: 1_000, answerTimeoutMs: 100 };
  const silent = setUp([], bounds);
  t.equal(silent.begin(), null);
  silent.clock.advance(110);
  t.match(silent.given, [{ reason: "timeout", detail: "no answer within 100 ms" }]);
  const slow = setUp([], bounds);
  t.equal(slow.begin(), null);
  slow.clock.advance(90);
  slow.deadlines.answered(slow.exchange, false);
  slow.clock.advance(900);
  t.strictSame(slow.given, []);
  slow.clock.advance(20);
  t.match(slow.given, [{ detail: "not complete within 1000 ms, the time of its route" }]);
});

t.test("a tunnel has no end to wait for, and one that is over is not given up", async (t) => {
  const tunnel = setUp([], { timeoutMs: 100, answerTimeoutMs: 50 });
  t.equal(tunnel.begin(), null);
  tunnel.deadlines.answered(tunnel.exchange, true);
  const ended = setUp([...GRPC, "grpc-timeout", "50m"]);
  t.equal(ended.begin(), null);
  ended.deadlines.end(ended.exchange);
  ended.deadlines.end(ended.exchange);
  tunnel.clock.advance(1_000);
  ended.clock.advance(1_000);
  t.strictSame([...tunnel.given, ...ended.given], []);
  t.equal(tunnel.deadlines.count + ended.deadlines.count, 0);
});

t.test("what is over already, or unreadable, is refused at once", async (t) => {
  t.match(setUp([...GRPC, "grpc-timeout", "0m"]).begin(), { reason: "timeout" });
  const late = setUp([...GRPC, "grpc-timeout", "20m"]);
  late.clock.advance(30);
  t.match(late.begin(), { reason: "timeout" }, "a look-up took all of its time");
  for (const value of ["1", "soon", "-1S", "123456789S"]) {
    const { begin, exchange } = setUp([...GRPC, "grpc-timeout", value]);
    t.match(begin(), { reason: "bad_request" }, value);
    t.equal(exchange.deadline, null);
  }
});

// The server's end of a watch, over a call whose reader is as slow as the test wants it.
import { EventEmitter } from "node:events";
import t from "tap";
import { createMetrics } from "../../core/metrics.ts";
import type { WatchRequest, WatchUpdate } from "../../core/wire/registry.ts";
import { watchUpdate } from "../../core/wire/registry-messages.ts";
import { type BidiCall, PREFIX_BYTES } from "../../core/wire/server-call.ts";
import { parseAnnouncement } from "../../registry/announcement.ts";
import { createEndings } from "../../registry/endings.ts";
import { createLeaseTable } from "../../registry/lease-table.ts";
import { createRegistryMetrics } from "../../registry/registry-metrics.ts";
import { noServices } from "../../registry/service-source.ts";
import { createUpdateEncoder } from "../../registry/update-encoder.ts";
import { createViews } from "../../registry/views.ts";
import { serveWatch } from "../../registry/watch-stream.ts";
import { createThrowawayCa } from "../support/throwaway-ca.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { askService, heartbeatOf } from "./harness.ts";

const CERTIFICATE_MS = 3_600_000;

/** A call with a reader that takes nothing while `isSlow`. */
class FakeCall extends EventEmitter {
  isSlow = false;
  ended: { readonly code: number } | null = null;
  readonly updates: WatchUpdate[] = [];

  writeFramed(head: Buffer, body: Buffer): boolean {
    this.updates.push(watchUpdate.decode(Buffer.concat([head.subarray(PREFIX_BYTES), body])));
    return !this.isSlow;
  }

  override emit(event: string, argument?: unknown): boolean {
    if (event !== "error") return super.emit(event, argument);
    this.ended = argument as { readonly code: number };
    return super.emit("close");
  }

  end(): void {}

  /** Says again what it reads. */
  drain(): void {
    this.emit("drain");
  }
}

function start() {
  const clock = createFakeClock(Date.now());
  const table = createLeaseTable();
  const views = createViews({ leases: table, source: noServices, clock, random: () => 0 });
  const identity = createThrowawayCa().id("default/orders");
  const call = new FakeCall();
  const peer = { identity, expiresAtMs: clock.nowMs() + CERTIFICATE_MS, remoteAddress: "127.0.0.1" };
  serveWatch(call as unknown as BidiCall<WatchRequest, WatchUpdate>, peer, views, {
    updates: createUpdateEncoder(),
    endings: createEndings(clock),
    metrics: createRegistryMetrics(createMetrics({ component: "control", version: "0.0.0", commit: "test" })),
    clusterDomain: "cluster.local",
    warmUp: { isOver: () => true, onOver: () => () => {} },
  });
  const announce = (name: string, epoch: number, services = ["orders"]) => {
    const { lease, load } = parseAnnouncement(heartbeatOf({ instanceId: name, epoch, services }), identity);
    table.put(lease, load, clock.monoMs());
  };
  return { clock, table, call, announce, ask: (name: string, known = 0) => call.emit("data", askService(name, 0, known)) };
}

const shown = ({ full, upserts, removed }: WatchUpdate) => [full, upserts.map(({ instanceId }) => instanceId), removed];

t.test("a reader that was slow is told what changed since, not everything once more", async (t) => {
  const { clock, table, call, announce, ask } = start();
  for (let number = 1; number <= 9; number += 1) announce(`orders-${number}`, 1);
  call.isSlow = true;
  ask("orders");
  for (const number of [2, 3, 4]) {
    announce(`orders-${number}`, 2);
    clock.advance(200);
  }
  table.delete("orders-5");
  clock.advance(200);
  t.equal(call.updates.length, 1, "one message waits, and no more");
  call.isSlow = false;
  call.drain();
  t.equal(call.updates.length, 2);
  t.match(shown(call.updates[0] as WatchUpdate)[0], true);
  t.same(shown(call.updates[1] as WatchUpdate), [false, ["orders-2", "orders-3", "orders-4"], ["orders-5:8080"]]);
  announce("orders-6", 2);
  clock.advance(200);
  t.same(shown(call.updates[2] as WatchUpdate), [false, ["orders-6"], []], "from then on each as it comes");
});

t.test("destinations that wait behind a slow reader get one message each, and none is forgotten", async (t) => {
  const { clock, call, announce, ask } = start();
  const services = ["a", "b", "c", "d"];
  for (const name of services) announce(`${name}-1`, 1, [name]);
  for (const name of services) ask(name);
  t.equal(call.updates.length, 4);
  call.isSlow = true;
  for (const name of services) announce(`${name}-2`, 1, [name]);
  clock.advance(500);
  t.equal(call.updates.length, 5, "the first finds out that the reader is slow");
  ask("e"); // a new question waits as well
  for (const count of [6, 7, 8, 9]) {
    call.drain();
    t.equal(call.updates.length, count);
  }
  call.isSlow = false;
  call.drain();
  t.same(
    call.updates
      .slice(4)
      .map(({ key }) => key)
      .sort(),
    ["a", "b", "c", "d", "e"],
  );
  announce("a-3", 1, ["a"]);
  clock.advance(500);
  t.equal(call.updates.length, 10);
});

t.test("what the client holds already is said at once also while others wait, and makes nobody forgotten", async (t) => {
  const { clock, call, announce, ask } = start();
  for (const name of ["a", "b"]) announce(`${name}-1`, 1, [name]);
  ask("a");
  ask("b");
  const version = call.updates[1]?.version ?? 0;
  call.isSlow = true;
  announce("a-2", 1, ["a"]);
  clock.advance(500);
  announce("a-3", 1, ["a"]);
  clock.advance(500);
  t.equal(call.updates.length, 3);
  ask("b", version);
  t.match(call.updates[3], { key: "b", full: false, upserts: [], version });
  call.isSlow = false;
  call.drain();
  t.match(call.updates[4], { key: "a", full: false, upserts: [{ instanceId: "a-3" }] });
});

t.test("a stream ends with its client's certificate, also when nothing is said on it", async (t) => {
  const { clock, call, ask, announce } = start();
  ask("orders");
  clock.advance(CERTIFICATE_MS - 1_000);
  t.equal(call.ended, null);
  clock.advance(2_000);
  t.match(call.ended, { code: 16 });
  announce("orders-1", 1);
  clock.advance(1_000);
  t.equal(call.updates.length, 1, "nothing is sent after that");
});

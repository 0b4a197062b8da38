// What changed between any two versions of an answer.
import t from "tap";
import type { Lease } from "../../registry/lease.ts";
import type { Resolved, ResolvedEndpoint } from "../../registry/resolve.ts";
import { VersionedView } from "../../registry/view.ts";
import { createSeededRandom } from "../support/seeded-random.ts";

const endpoint = (id: string, port: number): ResolvedEndpoint => ({ id, lease: {} as Lease, address: "10.0.0.1", port, protocol: "http1" });
const answer = (endpoints: readonly ResolvedEndpoint[]): Resolved => ({ found: true, service: "a/b", protocol: "http1", endpoints });
const ids = (count: number) => Array.from({ length: count }, (_, index) => `pod-${index}`);

t.test("who applies what changed since a version holds what the newest one has", async (t) => {
  const random = createSeededRandom(7).next;
  const pods = ids(30);
  let view = VersionedView.first(1, answer([]));
  const past: VersionedView[] = [view];
  let told = 0;
  for (let version = 2; version < 400; version += 1) {
    const now = new Map(view.resolved.endpoints.map((one) => [one.id, one]));
    const touched = pods.filter(() => random() < 0.05);
    for (const id of touched)
      if (now.has(id) && random() < 0.4) now.delete(id);
      else now.set(id, endpoint(id, version));
    const differing = touched.filter((id) => now.get(id) !== view.resolved.endpoints.find((one) => one.id === id));
    view = view.next(version, answer([...now.values()]), differing);
    past.push(view);
    for (const before of past.slice(-12)) {
      const change = view.changeSince(before.version);
      if (change === null) continue;
      told += 1;
      const held = new Map(before.resolved.endpoints.map((one) => [one.id, one]));
      for (const id of change.removed) held.delete(id);
      for (const one of change.upserts) held.set(one.id, one);
      const wanted = new Map(view.resolved.endpoints.map((one) => [one.id, one]));
      if (before !== view && (held.size !== wanted.size || [...wanted].some(([id, one]) => held.get(id) !== one)))
        t.fail(`from ${before.version} to ${view.version}`);
    }
  }
  t.ok(told > 1000, `${told} changes were told`);
});

t.test("what is more than the whole, too long ago, or never was, is not told as a change", async (t) => {
  const pods = ids(20).map((id) => endpoint(id, 1));
  let view = VersionedView.first(1, answer([]));
  t.equal(view.changeSince(1), null);
  view = view.next(2, answer(pods), ids(20));
  t.same(view.changeSince(1), { upserts: pods, removed: [] }, "the version before always");
  t.equal(view.changeSince(1), view.changeSince(1), "the same object each time");
  t.equal(view.changeSince(0), null, "who holds nothing");
  view = view.next(3, answer(pods.slice(0, 19)), ["pod-19"]);
  t.equal(view.changeSince(1), null, "21 changes of 19 endpoints");
  t.same(view.changeSince(2), { upserts: [], removed: ["pod-19"] });
  for (let version = 4; version < 100; version += 1) view = view.next(version, answer(pods), []);
  t.equal(view.changeSince(3), null, "too many versions ago");
  t.same(view.changeSince(60), { upserts: [], removed: [] });
});

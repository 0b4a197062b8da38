// How a list is followed, with an API server that says what the test wants and time that the test owns. test/cluster/registry-watch.test.ts does the same
// with a real one.
import t, { type Test } from "tap";
import { followList, type ListPage, type ObjectChange } from "../../../core/kubernetes/watched-list.ts";
import { silentLogger } from "../../../core/log.ts";
import { createFakeClock } from "../../support/fake-clock.ts";

const WATCH_SECONDS = 10;
const SILENCE_MS = 15_000;

interface Thing {
  readonly name: string;
  readonly version: string;
}

interface Watch {
  readonly from: string;
  readonly event: (type: string, name: string, version: number) => void;
  /** The object of an ERROR event. */
  readonly error: (status: object) => void;
  readonly end: (error: unknown) => void;
  isAborted: boolean;
}

function object(name: string, version: number): object {
  return { metadata: { name, namespace: "n", resourceVersion: String(version) } };
}

function read(given: unknown): Thing | null {
  const { name, resourceVersion } = (given as { readonly metadata: { readonly name: string; readonly resourceVersion: string } }).metadata;
  return name.startsWith("ignored") ? null : { name, version: resourceVersion };
}

/** Follows a list whose API server is in the test's hands. */
function start(t: Test, things: readonly string[] = []) {
  const clock = createFakeClock();
  const api = { version: 100, things: new Map(things.map((name) => [name, 50])), lists: 0, failLists: 0, hangs: false, pageItems: 2 };
  const watches: Watch[] = [];
  const changes: ObjectChange<Thing>[][] = [];

  async function list({ limit, _continue }: { readonly limit: number; readonly _continue?: string }): Promise<ListPage> {
    if (api.failLists > 0) {
      api.failLists -= 1;
      throw Object.assign(new Error("told to fail"), { code: 500 });
    }
    if (_continue === undefined) api.lists += limit === 1 ? 0 : 1;
    const from = Number(_continue ?? 0);
    const all = [...api.things];
    const items = all.slice(from, from + limit).map(([name, version]) => object(name, version));
    const next = from + limit < all.length ? String(from + limit) : "";
    return { items, metadata: { resourceVersion: String(api.version), ...(next === "" ? {} : { _continue: next }) } };
  }

  const followed = followList<Thing>({
    what: "things",
    path: "/things",
    list,
    async watch(_path, query, onEvent, onEnd) {
      const watch: Watch = {
        from: query["resourceVersion"] ?? "",
        event: (type, name, version) => onEvent(type, object(name, version)),
        error: (status) => onEvent("ERROR", status),
        end: onEnd,
        isAborted: false,
      };
      watches.push(watch);
      if (api.hangs) await new Promise(() => {});
      return {
        abort() {
          watch.isAborted = true;
        },
      };
    },
    read,
    isSame: (before, after) => before.version === after.version,
    onChange: (changed) => changes.push([...changed]),
    pageItems: api.pageItems,
    watchSeconds: WATCH_SECONDS,
    clock,
    random: () => 1, // the longest pause
    log: silentLogger(),
  });
  t.teardown(() => followed.close());
  const names = () => [...(followed.facts.get("n")?.values() ?? [])].map(({ name, version }) => `${name}@${version}`).sort();
  const last = (): Watch => {
    const found = watches.at(-1);
    if (found === undefined) throw new Error("no watch was begun");
    return found;
  };
  /** In steps, so that what is promised between timers is kept. */
  const pass = (ms: number) => clock.advanceAsync(ms, 25);
  return { pass, api, watches, changes, followed, names, last };
}

t.test("pages make one list, and events change it", async (t) => {
  const { pass, changes, followed, names, last } = start(t, ["a", "b", "c", "ignored-1", "d"]);
  await pass(10);
  await followed.synced;
  t.strictSame(names(), ["a@50", "b@50", "c@50", "d@50"]);
  t.equal(followed.size, 4);
  t.strictSame(changes.length, 1, "told at once");
  t.equal(last().from, "100");
  t.equal(followed.staleMs(), 0);
  last().event("MODIFIED", "a", 101);
  last().event("ADDED", "ignored-2", 102);
  last().event("DELETED", "b", 103);
  last().event("ADDED", "e", 104);
  t.strictSame(names(), ["a@101", "c@50", "d@50", "e@104"]);
  t.equal(followed.size, 4);
  t.match(changes.slice(1), [
    [{ before: { version: "50" }, after: { version: "101" } }],
    [],
    [{ before: { name: "b" }, after: null }],
    [{ before: null, after: { name: "e" } }],
  ]);
});

t.test("a watch that ends is resumed from the last word, also a bookmark", async (t) => {
  const { pass, api, last, watches, followed } = start(t);
  await pass(10);
  last().event("ADDED", "a", 110);
  last().event("BOOKMARK", "", 150);
  await pass(2_000);
  last().end(null);
  await pass(250);
  t.equal(watches.length, 2);
  t.equal(last().from, "150");
  t.equal(api.lists, 1);
  t.equal(followed.problem(), null, "that is no failure");
});

t.test("a version that is gone is listed again, and only what differs is told", async (t) => {
  for (const gone of [
    (watch: Watch) => watch.error({ kind: "Status", code: 410 }),
    (watch: Watch) => watch.end(Object.assign(new Error("gone"), { statusCode: 410 })),
  ]) {
    const { pass, api, changes, names, last } = start(t, ["same", "changed", "vanished"]);
    await pass(10);
    api.things.delete("vanished");
    api.things.set("changed", 120).set("new", 121);
    api.version = 130;
    gone(last());
    t.strictSame(names(), ["changed@50", "same@50", "vanished@50"], "nothing goes before the list is there");
    await pass(500);
    t.strictSame(names(), ["changed@120", "new@121", "same@50"]);
    t.equal(changes.length, 2);
    t.strictSame(changes[1]?.map(({ before, after }) => `${before?.name ?? "-"} ${after?.name ?? "-"}`).sort(), [
      "- new",
      "changed changed",
      "vanished -",
    ]);
    t.equal(last().from, "130");
  }
});

t.test("a list that fails in the middle changes nothing", async (t) => {
  const { pass, api, names, last, followed } = start(t, ["a", "b", "c"]);
  await pass(10);
  api.things.clear();
  api.failLists = 3;
  last().error({ code: 410 });
  await pass(800);
  t.strictSame(names(), ["a@50", "b@50", "c@50"]);
  t.match(followed.problem(), /things: the API server answers 500/);
  t.ok(followed.staleMs() > 0);
  await pass(15_000);
  t.strictSame(names(), []);
  t.equal(followed.problem(), null);
});

t.test("a watch on which nothing comes is given up, and what it says later is not heard", async (t) => {
  const { pass, watches, followed, names, last } = start(t);
  await pass(10);
  const dead = last();
  dead.event("ADDED", "a", 101);
  await pass(SILENCE_MS + 300);
  t.ok(dead.isAborted);
  t.equal(watches.length, 2);
  t.equal(followed.problem(), null);
  dead.event("DELETED", "a", 200);
  t.strictSame(names(), ["a@101"]);
  t.equal(last().from, "101");
});

t.test("an API server that never answers a watch is a failure, and how long it lasts is said", async (t) => {
  const { pass, api, last, followed } = start(t);
  await pass(10);
  api.hangs = true;
  last().end(new Error("socket hang up"));
  await pass(SILENCE_MS + 2_000);
  t.match(followed.problem(), /no answer within 15 s/);
  t.ok(followed.staleMs() >= SILENCE_MS);
});

t.test("watches that end as soon as they begin are begun again ever more slowly", async (t) => {
  const { pass, watches, last, api } = start(t);
  await pass(10);
  for (let at = 0; at < 600; at += 1) {
    last().end(null);
    await pass(100);
  }
  t.ok(watches.length < 25, `${watches.length} watches in a minute`);
  t.equal(api.lists, 1);
});

t.test("an API server whose state is older than what it said is listed anew", async (t) => {
  const { pass, api, last, names } = start(t, ["lost"]);
  await pass(10);
  t.equal(last().from, "100");
  api.things = new Map([["restored", 7]]);
  api.version = 20;
  await pass(WATCH_SECONDS * 1000);
  last().end(null); // without a word, as a real one does when the version lies in its future
  await pass(1_000);
  t.strictSame(names(), ["restored@7"]);
  t.equal(last().from, "20");
  await pass(WATCH_SECONDS * 1000);
  last().end(null);
  await pass(1_000);
  t.equal(api.lists, 2, "a quiet watch is not suspicious by itself");
});

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import jsonPatch from "fast-json-patch";
import t from "tap";
import { difference, escapePointer } from "../../injector/patch/difference.ts";
import { unifiedDiff } from "../../injector/unified-diff.ts";
import { requires } from "../support/requires.ts";

/** A small generator of numbers (mulberry32), so that a failure can be made again from its seed. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

function oddValue(next: () => number, depth: number): unknown {
  const pick = <T>(items: readonly T[]): T => items[Math.floor(next() * items.length)] as T;
  const count = Math.floor(next() * 4);
  const kind = depth === 0 ? 0 : Math.floor(next() * 4);
  if (kind === 0) return pick([null, 0, 1, true, "", "a", "a/b~c"]);
  if (kind === 1)
    return Object.fromEntries(Array.from({ length: count }, () => [pick(["a", "b", "c/d", "~e", ""]), oddValue(next, depth - 1)]));
  if (kind === 2) return Array.from({ length: count }, () => oddValue(next, depth - 1));
  return Array.from({ length: count }, () => ({ name: pick(["x", "y", "z", "w"]), value: oddValue(next, depth - 1) }));
}

t.test("any value turns into any other, operation by operation", async (t) => {
  for (let seed = 1; seed <= 3000; seed += 1) {
    const next = numbers(seed);
    const before = { root: oddValue(next, 4) };
    const after = { root: oddValue(next, 4) };
    const copies = [structuredClone(before), structuredClone(after)];
    const operations = difference(before, after);
    const patched = jsonPatch.applyPatch(structuredClone(before), operations as jsonPatch.Operation[], true).newDocument;
    t.strictSame(patched, after, `seed ${seed}`);
    t.strictSame([before, after], copies, "nothing given was changed");
    t.strictSame(difference(after, structuredClone(after)), [], "equal values differ in nothing");
  }
});

t.test("named items are matched by name", async (t) => {
  const items = (...names: string[]) => ({ list: names.map((name) => ({ name, size: name.length })) });
  const paths = (before: object, after: object) => difference(before, after).map(({ op, path }) => `${op} ${path}`);
  t.strictSame(paths(items("b", "c"), items("a", "b", "c")), ["add /list/0"]);
  t.strictSame(paths(items("a", "b", "c"), items("b")), ["remove /list/2", "remove /list/0"]);
  t.strictSame(paths(items("a", "b"), items("x", "b", "y")), ["remove /list/0", "add /list/0", "add /list/2"]);
  t.strictSame(paths(items("a", "b"), items("b", "a")), ["replace /list"], "an order that changed is written anew");
  t.strictSame(paths(items("a", "a"), items("a")), ["replace /list"], "names that are not unique say nothing");
});

t.test("keys become pointer steps as RFC 6901 says", async (t) => {
  t.equal(escapePointer("kubectl.kubernetes.io/default-container"), "kubectl.kubernetes.io~1default-container");
  t.equal(escapePointer("~1/~"), "~01~1~0");
});

t.test("a diff is one that patch(1) applies", { skip: requires("patch") }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "remora-diff-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  for (let seed = 1; seed <= 40; seed += 1) {
    const next = numbers(seed);
    const words = Array.from({ length: Math.floor(next() * 60) + 1 }, () => `line ${Math.floor(next() * 8)}`);
    const changed = words.flatMap((word) => (next() < 0.1 ? [] : next() < 0.15 ? [word, "added"] : next() < 0.1 ? ["other"] : [word]));
    const [before, after] = [words, changed.length === 0 ? ["rest"] : changed].map((lines) => `${lines.join("\n")}\n`) as [string, string];
    const diff = unifiedDiff(before, after, "file");
    if (before === after) {
      t.equal(diff, "");
      continue;
    }
    writeFileSync(join(folder, "file"), before);
    const patched = execFileSync("patch", ["-s", "-o", "-", "file"], { cwd: folder, input: diff, encoding: "utf8" });
    t.equal(patched, after, `seed ${seed}`);
  }
});

t.test("a text that changes as a whole is shown as such, however long", async (t) => {
  const lines = (word: string) => `${Array.from({ length: 3000 }, (_, index) => `${word} ${index}`).join("\n")}\n`;
  t.equal(unifiedDiff(lines("a"), lines("b"), "file").split("\n").length, 3 + 6000 + 1);
});

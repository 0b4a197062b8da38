import t from "tap";
import { createIssueQueue } from "../../certs/issue-queue.ts";
import { createFakeClock } from "../support/fake-clock.ts";

const NOBODY_LEFT = () => false;

/** Turns of the event loop by hand. */
function createTurns() {
  const runs: (() => void)[] = [];
  return {
    nextTurn: (run: () => void) => void runs.push(run),
    async turn() {
      for (const run of runs.splice(0)) run();
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

t.test("first certificates go before renewals, each in the order they came, so many a turn", async (t) => {
  const { nextTurn, turn } = createTurns();
  const queue = createIssueQueue({ clock: createFakeClock(), nextTurn, perTurn: 2 });
  const served: string[] = [];
  const ask = (name: string, urgency: "first" | "renewal") =>
    void queue.run(urgency, NOBODY_LEFT, () => {
      served.push(name);
      return Promise.resolve();
    });
  for (const name of ["r1", "r2"]) ask(name, "renewal");
  for (const name of ["f1", "f2", "f3"]) ask(name, "first");
  t.equal(queue.waiting, 5);
  await turn();
  t.same(served, ["f1", "f2"]);
  await turn();
  await turn();
  t.same(served, ["f1", "f2", "f3", "r1", "r2"]);
  t.equal(queue.waiting, 0);
});

t.test("so many run at once, and a full queue says when to come again", async (t) => {
  const { nextTurn, turn } = createTurns();
  const clock = createFakeClock();
  const queue = createIssueQueue({ clock, nextTurn, running: 1, waiting: 2 });
  const first = Promise.withResolvers<string>();
  const answers = [queue.run("first", NOBODY_LEFT, () => first.promise)];
  await turn();
  answers.push(queue.run("first", NOBODY_LEFT, () => Promise.resolve("second")));
  const third = t.rejects(
    queue.run("renewal", NOBODY_LEFT, () => Promise.reject(new Error("third"))),
    { message: "third" },
    "a failure frees its place too",
  );
  await turn();
  t.equal(queue.waiting, 2, "one runs, two wait");
  await t.rejects(
    queue.run("first", NOBODY_LEFT, () => Promise.resolve("fourth")),
    { code: "rate_limited", fields: { waitMs: 2 } },
  );
  first.resolve("first");
  await turn();
  await turn();
  await turn();
  t.same(await Promise.all(answers), ["first", "second"]);
  await third;
  await turn();
  const fifth = queue.run("first", NOBODY_LEFT, () => Promise.resolve("fifth"));
  await turn();
  t.equal(await fifth, "fifth");
});

t.test("who did not wait for its turn costs nothing", async (t) => {
  const { nextTurn, turn } = createTurns();
  const queue = createIssueQueue({ clock: createFakeClock(), nextTurn });
  let isGone = false;
  let ran = false;
  const answer = queue.run(
    "first",
    () => isGone,
    () => {
      ran = true;
      return Promise.resolve();
    },
  );
  isGone = true;
  const refused = t.rejects(answer, { code: "unavailable" });
  await turn();
  await refused;
  t.notOk(ran);
});

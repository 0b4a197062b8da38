import t from "tap";
import { RetryBudget } from "../../../sidecar/resilience/retry-budget.ts";

/** Takes out what it can, at most 10 000. */
function drain(budget: RetryBudget, nowMonoMs: number): number {
  let taken = 0;
  while (taken < 10_000 && budget.withdraw(nowMonoMs)) taken += 1;
  return taken;
}

t.test("a fifth of the last ten seconds' requests, and ten a second in any case", async (t) => {
  const budget = new RetryBudget();
  t.equal(drain(budget, 1_000_000), 100, "a quiet destination has ten a second over the window");
  const busy = new RetryBudget();
  for (let index = 0; index < 1_000; index += 1) busy.deposit(1_000_000 + index * 9);
  t.equal(drain(busy, 1_009_000), 300);
});

t.test("a share alone: every fifth request", async (t) => {
  const budget = new RetryBudget({ ratio: 0.2, minPerSecond: 0 });
  t.equal(drain(budget, 0), 0);
  let retries = 0;
  for (let index = 0; index < 1_000; index += 1) {
    budget.deposit(index * 100);
    if (budget.withdraw(index * 100)) retries += 1;
  }
  t.ok(retries >= 190 && retries <= 210, `${retries} of 1000`);
});

t.test("what is older than the window counts no more, neither requests nor retries", async (t) => {
  const budget = new RetryBudget({ ratio: 0.2, minPerSecond: 1 });
  for (let index = 0; index < 500; index += 1) budget.deposit(500);
  t.equal(drain(budget, 9_500), 110);
  t.equal(drain(budget, 10_500), 0, "the requests have left, the retries have not");
  t.equal(drain(budget, 18_900), 0);
  t.equal(drain(budget, 19_000), 10);
  t.equal(drain(budget, 1e9), 10);
});

t.test("no share: no retry at all", async (t) => {
  const budget = new RetryBudget({ ratio: 0, minPerSecond: 10 });
  budget.deposit(0);
  t.equal(drain(budget, 0), 0);
});

import t from "tap";
import { defaultPlatform } from "../../../injector/platform/platform.ts";
import { describeFinding, judge, type VersionFigures } from "../../../injector/rollout/judge.ts";
import { leastDifference, wilsonInterval } from "../../../injector/rollout/proportion.ts";
import { createSeededRandom } from "../../support/seeded-random.ts";

const POLICY = defaultPlatform.rolloutPolicy;

function figures(given: Partial<VersionFigures> = {}): VersionFigures {
  return {
    errors: { count: 0, of: 10_000 },
    refused: { count: 0, of: 10_000 },
    lost: { count: 0, of: 100 },
    podsWithErrors: 10,
    podsWithRefusals: 10,
    pods: 100,
    ...given,
  };
}

t.test("one failed request of two is no verdict, nor are two of two", async (t) => {
  t.match(judge(figures({ errors: { count: 1, of: 2 } }), figures(), POLICY), { kind: "unknown", missing: "2 of 100 requests seen" });
  t.match(judge(figures({ errors: { count: 2, of: 2 } }), figures(), POLICY), { kind: "unknown" });
});

t.test("a clear difference is found, with its figures in a sentence", async (t) => {
  const verdict = judge(figures({ errors: { count: 100, of: 1000 } }), figures({ errors: { count: 10, of: 10_000 } }), POLICY);
  t.match(verdict, { kind: "worse", findings: [{ symptom: "error_ratio", newRatio: 0.1, oldRatio: 0.001, margin: 0.01, cases: 1000 }] });
  if (verdict.kind === "worse")
    t.equal(verdict.findings.map(describeFinding)[0], "error ratio 10 % against 0.1 % (margin 1 %, 1000 requests)");
});

t.test("a difference within the margin is fine, however sure", async (t) => {
  const now = figures({ errors: { count: 19_000, of: 1_000_000 } });
  t.same(judge(now, figures({ errors: { count: 100_000, of: 10_000_000 } }), POLICY), { kind: "fine" });
});

t.test("refusals and lost heartbeats count as errors do", async (t) => {
  t.match(judge(figures({ refused: { count: 50, of: 500 } }), figures(), POLICY), {
    kind: "worse",
    findings: [{ symptom: "refused_ratio" }],
  });
  t.match(judge(figures({ lost: { count: 3, of: 3 } }), figures(), POLICY), { kind: "worse", findings: [{ symptom: "heartbeat_loss" }] });
  t.match(judge(figures({ lost: { count: 2, of: 2 } }), figures(), POLICY), { kind: "fine" }, "too few pods to tell");
  t.match(judge(figures({ lost: { count: 1, of: 20 } }), figures(), POLICY), { kind: "fine" }, "one pod in twenty");
  t.match(
    judge(figures({ errors: { count: 0, of: 0 }, lost: { count: 5, of: 5 } }), figures(), POLICY),
    { kind: "worse" },
    "without any request",
  );
});

t.test("one broken app is not a broken version", async (t) => {
  const errors = { count: 500, of: 1000 };
  t.match(judge(figures({ errors, podsWithErrors: 1, pods: 10 }), figures(), POLICY), { kind: "fine" });
  t.match(judge(figures({ errors, podsWithErrors: 2, pods: 10 }), figures(), POLICY), { kind: "worse" });
  t.match(judge(figures({ errors, podsWithErrors: 1, pods: 1 }), figures(), POLICY), { kind: "worse" }, "the only pod there is");
});

t.test("what is worse than an old version of which nothing is known is held to the margin alone", async (t) => {
  const nothing = figures({ errors: { count: 0, of: 0 }, refused: { count: 0, of: 0 }, lost: { count: 0, of: 0 }, pods: 0 });
  t.match(judge(figures({ errors: { count: 100, of: 1000 } }), nothing, POLICY), { kind: "worse" });
  t.match(judge(figures({ errors: { count: 5, of: 1000 } }), nothing, POLICY), { kind: "fine" });
});

t.test("equal versions are hardly ever told apart: fewer than 1 in 50 judgements, at any size and ratio", async (t) => {
  const random = createSeededRandom(20_260_101);
  const noMargin = { ...POLICY, errorRatioMargin: 0 };
  for (const [cases, ratio] of [
    [100, 0.01],
    [100, 0.5],
    [1000, 0.002],
    [1000, 0.1],
  ] as const) {
    let worse = 0;
    const draw = (of: number) => {
      let count = 0;
      for (let index = 0; index < of; index++) if (random.next() < ratio) count += 1;
      return { count, of };
    };
    for (let round = 0; round < 1000; round++) {
      if (judge(figures({ errors: draw(cases) }), figures({ errors: draw(cases) }), noMargin).kind === "worse") worse += 1;
    }
    t.ok(worse <= 20, `${worse} of 1000 with ${cases} requests at ${ratio}`);
  }
});

t.test("Wilson's interval, as tables have it", async (t) => {
  // Newcombe 1998, table I: 81 of 263 at 95 % is 0.2553 to 0.3662; 0 of 20 is 0 to 0.1611.
  const close = (actual: number, expected: number) => t.ok(Math.abs(actual - expected) < 0.00006, `${actual} is ${expected}`);
  const some = wilsonInterval({ count: 81, of: 263 }, 1.96);
  close(some.low, 0.2553);
  close(some.high, 0.3662);
  const none = wilsonInterval({ count: 0, of: 20 }, 1.96);
  close(none.low, 0);
  close(none.high, 0.1611);
  // Newcombe 1998, differences, method 10: 56/70 - 48/80 at 95 % is 0.0524 to 0.3339.
  close(leastDifference({ count: 56, of: 70 }, { count: 48, of: 80 }, 1.96), 0.0524);
});

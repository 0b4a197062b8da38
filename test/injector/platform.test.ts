import { readFile } from "node:fs/promises";
import t from "tap";
import { parse } from "yaml";
import { ConfigError } from "../../core/errors.ts";
import { matchesPattern } from "../../injector/platform/pattern.ts";
import { defaultPlatform, parsePlatform, placeOf, versionFor } from "../../injector/platform/platform.ts";

function mistakesIn(text: string): readonly string[] {
  try {
    parsePlatform(text);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return (error.fields["mistakes"] as readonly string[] | undefined) ?? [error.message];
  }
}

t.test("an empty file decides nothing", async (t) => {
  for (const text of ["", "# only a comment\n", "{}", "enforced: {}", "enforced:\n"]) t.strictSame(parsePlatform(text), defaultPlatform);
});

t.test("a whole file is read", async (t) => {
  const platform = parsePlatform(`
enforced:
  minimumMode: strict
  minimumSigning: hmac
  minimumVerify: sign
  capture: transparent
  egress: deny
  images: ["registry.example/remora:*"]
  forbiddenAnnotations: [image, skip-inbound-ports]
  optOut: {forbiddenIn: ["shop-*"], allowedIn: [shop-legacy]}
channels: {stable: "1.4.0", canary: "1.5.0-rc.1"}
defaultChannel: canary
assign:
  - {namespace: "shop-*", workload: deployment/web, channel: stable, percent: 12.5%}
  - {channel: canary}
rollout: {channel: stable, from: "1.3.0", to: "1.4.0", percent: 10%}
rolloutPolicy: {errorRatioMargin: 2%, pace: 5s, observe: 2m}
watchdog: {restart: true, pace: 10m}
`);
  t.match(platform, {
    enforced: {
      minimumMode: "strict",
      minimumSigning: "hmac",
      minimumVerify: "sign",
      capture: "transparent",
      egress: "deny",
      images: ["registry.example/remora:*"],
      optOut: { forbiddenIn: ["shop-*"], allowedIn: ["shop-legacy"] },
    },
    defaultChannel: "canary",
    assignments: [
      { namespace: "shop-*", workload: "deployment/web", channel: "stable", percent: 12.5 },
      { namespace: null, workload: null, channel: "canary", percent: 100 },
    ],
    rollout: { channel: "stable", from: "1.3.0", to: "1.4.0", percent: 10 },
    rolloutPolicy: { errorRatioMargin: 0.02, paceMs: 5_000, observeMs: 120_000, refusedRatioMargin: 0.01 },
    watchdog: { restart: true, paceMs: 600_000 },
  });
  t.strictSame([...platform.enforced.forbiddenAnnotations], ["image", "skip-inbound-ports"]);
  t.strictSame(
    [...platform.channels],
    [
      ["stable", "1.4.0"],
      ["canary", "1.5.0-rc.1"],
    ],
  );
});

t.test("the example in the manifests is right, and says what it says it does", async (t) => {
  const source = await readFile(new URL("../../manifests/examples/platform.yaml", import.meta.url), "utf8");
  const text = (parse(source) as { data: { "platform.yaml": string } }).data["platform.yaml"];
  const platform = parsePlatform(text);
  t.match(platform, {
    enforced: { minimumMode: "strict", optOut: { allowedIn: ["shop-legacy"] } },
    watchdog: { restart: false, paceMs: 60_000 },
  });
  t.doesNotThrow(() => parsePlatform(text.replaceAll(/# (capture|egress): /g, "$1: ")), "its commented keys too");
});

t.test("every mistake is told at once, each with its place, its value and what is allowed", async (t) => {
  const mistakes = mistakesIn(`
enforced:
  minimumMode: Strict
  minimumVerfy: sign
  images: registry.example
  forbiddenAnnotations: [imag]
channels: {stable: 1.4, Canary: "1.0.0"}
assign: [{namespace: a, percent: 20}, 3]
rollout: {from: "1.0.0", percent: 200%}
watchdog: {restart: "yes", pace: 5}
rolloutpolicy: {}
`);
  const expected = [
    'channels.stable: 1.4 is not allowed; allowed: a version such as "1.4.0" or "1.5.0-rc.1"',
    'channels: "Canary" is not a name',
    'enforced.minimumMode: "Strict" is not allowed; allowed: strict, permissive',
    'enforced.images: "registry.example" is not a list',
    'enforced.forbiddenAnnotations[0]: "imag" is not allowed; allowed: mode, capture,',
    'minimumVerfy": is unknown; did you mean minimumVerify?',
    "assign[0].channel: is missing",
    "assign[0].percent: 20 is not allowed",
    "assign[1]: 3 is not an object",
    "rollout.to: is missing",
    'rollout.percent: "200%" is not allowed',
    'watchdog.restart: "yes" is not allowed; allowed: true, false',
    "watchdog.pace: 5 is not allowed",
    '"rolloutpolicy": is unknown; did you mean rolloutPolicy?',
  ];
  for (const sentence of expected)
    t.ok(
      mistakes.some((mistake) => mistake.includes(sentence)),
      `${sentence}\nin\n${mistakes.join("\n")}`,
    );
});

t.test("a channel that is named has to exist", async (t) => {
  const text =
    'channels: {stable: "1.0.0"}\ndefaultChannel: main\nassign: [{channel: canary}]\nrollout: {channel: beta, from: "1.0.0", to: "1.1.0", percent: 1%}\n';
  t.strictSame(mistakesIn(text), [
    'defaultChannel: there is no channel "main"; channels has stable',
    'assign[0].channel: there is no channel "canary"; channels has stable',
    'rollout.channel: there is no channel "beta"; channels has stable',
  ]);
});

t.test("hostile files do no harm", async (t) => {
  const bomb = `a0: &a0 [x,x,x,x,x,x,x,x,x]\n${[1, 2, 3, 4, 5, 6, 7, 8]
    .map(
      (n) =>
        `a${n}: &a${n} [${Array(9)
          .fill(`*a${n - 1}`)
          .join(",")}]`,
    )
    .join("\n")}\n`;
  for (const text of [
    "a: [",
    "[]",
    "3",
    "x",
    bomb,
    "x".repeat(1_000_000),
    "enforced: &e {x: *e}",
    "channels: {__proto__: '1.0.0', constructor: '1.0.0'}",
  ]) {
    const mistakes = mistakesIn(text);
    t.ok(mistakes.length > 0, text.slice(0, 30));
    t.ok(mistakes.join("").length < 5_000);
  }
  const odd = "__proto__: {polluted: true}\nconstructor: {polluted: true}\n";
  t.equal(mistakesIn(odd).length, 2);
  t.equal(({} as Record<string, unknown>)["polluted"], undefined);
});

t.test("patterns: a star is any text, everything else itself, in linear time", async (t) => {
  const fits: readonly (readonly [string, string])[] = [
    ["*", ""],
    ["a*", "abc"],
    ["*c", "abc"],
    ["a*c", "ac"],
    ["a*b*c", "a-b-c"],
    ["**", "x"],
    ["a.c", "a.c"],
  ];
  const misses: readonly (readonly [string, string])[] = [
    ["a", "A"],
    ["a*", "ba"],
    ["a*a", "a"],
    ["a.c", "abc"],
    ["a*b*c", "acb"],
    ["", "x"],
    ["*ab*ab", "ab"],
  ];
  for (const [pattern, text] of fits) t.ok(matchesPattern(pattern, text), `${pattern} ${text}`);
  for (const [pattern, text] of misses) t.notOk(matchesPattern(pattern, text), `${pattern} ${text}`);
  const started = performance.now();
  matchesPattern(`${"*a".repeat(250)}b`, "a".repeat(100_000));
  t.ok(performance.now() - started < 500);
});

t.test("a workload's place is stable, spread evenly, and grows with the percentage", async (t) => {
  const owner = (index: number) => ({ namespace: `ns-${index % 50}`, kind: "Deployment", name: `web-${index}` });
  t.equal(placeOf({ namespace: "shop", kind: "Deployment", name: "web" }), placeOf({ namespace: "shop", kind: "deployment", name: "web" }));
  t.equal(
    placeOf({ namespace: "shop", kind: "Deployment", name: "web" }),
    16.18,
    "the same in every version of Remora, or an upgrade would move everybody",
  );
  const at = (percent: number) => {
    const platform = parsePlatform(`channels: {stable: "1.0.0"}\nrollout: {from: "1.0.0", to: "1.1.0", percent: ${percent}%}`);
    return Array.from({ length: 5_000 }, (_, index) => index).filter(
      (index) => versionFor(platform, owner(index), null).version === "1.1.0",
    );
  };
  t.equal(at(0).length, 0);
  t.equal(at(100).length, 5_000);
  const [ten, thirty] = [at(10), at(30)];
  t.ok(Math.abs(ten.length - 500) < 75, `${ten.length} of 5000`);
  t.ok(Math.abs(thirty.length - 1500) < 120, `${thirty.length} of 5000`);
  t.ok(
    ten.every((index) => thirty.includes(index)),
    "who has the new version keeps it",
  );
});

t.test("the channel: the annotation, else the first rule that fits, else the default; each says why", async (t) => {
  const platform = parsePlatform(
    'channels: {stable: "1.0.0", canary: "1.1.0", edge: "2.0.0"}\nassign: [{namespace: "shop-*", workload: "deployment/web*", channel: canary}, {namespace: lab, channel: edge}]\n',
  );
  const choose = (namespace: string, kind: string, name: string, asked: string | null = null) =>
    versionFor(platform, { namespace, kind, name }, asked);
  t.strictSame(choose("shop-a", "Deployment", "web-1"), {
    channel: "canary",
    version: "1.1.0",
    why: "rule 1 of the platform assigns canary",
  });
  t.match(choose("shop-a", "StatefulSet", "web-1"), { channel: "stable", version: "1.0.0", why: "stable is the default" });
  t.match(choose("lab", "Pod", "x"), { channel: "edge", version: "2.0.0" });
  t.match(choose("lab", "Pod", "x", "canary"), { channel: "canary", version: "1.1.0", why: /asks for canary/ });
  t.match(choose("lab", "Pod", "x", "gone"), { channel: "gone", version: null });
  t.match(versionFor(defaultPlatform, { namespace: "a", kind: "Pod", name: "x" }, null), { channel: "stable", version: null });
});

import t from "tap";
import { versionFor } from "../../../injector/platform/channels.ts";
import { parsePlatform } from "../../../injector/platform/platform.ts";
import { abort, assignChannel, halt, promote, setVersion } from "../../../injector/rollout/platform-edit.ts";

const NOW_MS = Date.UTC(2026, 0, 1);
const TEXT = `# of the platform team
channels:
  stable: 1.4.0 # since autumn
  canary: 1.4.0
enforced: { minimumMode: strict }
`;
const options = { nowMs: NOW_MS, resume: false };

t.test("a rollout is started, widened, promoted; comments and all else stay", async (t) => {
  const started = setVersion("canary", "1.5.0", 10, options)(TEXT);
  t.match(parsePlatform(started.text).rollout, {
    channel: "canary",
    from: "1.4.0",
    to: "1.5.0",
    percent: 10,
    startedAt: "2026-01-01T00:00:00.000Z",
  });
  const wider = setVersion("canary", "1.5.0", 50, options)(started.text);
  t.equal(parsePlatform(wider.text).rollout?.percent, 50);
  t.equal(setVersion("canary", "1.5.0", 50, options)(wider.text).text, wider.text, "twice is once");
  const promoted = promote(false)(wider.text);
  t.match(parsePlatform(promoted.text), { rollout: null });
  t.equal(parsePlatform(promoted.text).channels.get("canary"), "1.5.0");
  t.match(promoted.text, /^# of the platform team\n/);
  t.match(promoted.text, /stable: 1.4.0 # since autumn/);
  t.match(promoted.text, /minimumMode: strict/);
});

t.test("an aborted rollout leaves no trace but the version before", async (t) => {
  t.equal(abort()(setVersion("canary", "1.5.0", 10, options)(TEXT).text).text, TEXT);
});

t.test("only one rollout at a time, and no other version into one", async (t) => {
  const { text } = setVersion("canary", "1.5.0", 10, options)(TEXT);
  t.throws(() => setVersion("stable", "1.5.0", 10, options)(text), {
    code: "invalid_value",
    message: /the rollout of canary from 1.4.0 to 1.5.0 is under way/,
  });
  t.throws(() => setVersion("canary", "1.6.0", 10, options)(text), /promote or abort it first/);
  t.throws(() => promote(false)(TEXT), /no rollout is under way/);
  t.throws(() => abort()(TEXT), /no rollout is under way/);
});

t.test("a halt survives in the text, and nothing goes on without being told to", async (t) => {
  const { text } = setVersion("canary", "1.5.0", 10, options)(TEXT);
  const halted = halt("canary", "1.5.0", "error ratio 9 %\n  against 0 %", NOW_MS)(text);
  t.same(parsePlatform(halted.text).rollout?.halted, { at: "2026-01-01T00:00:00.000Z", why: "error ratio 9 % against 0 %" });
  t.equal(halt("canary", "1.5.0", "again", NOW_MS)(halted.text).text, halted.text, "the first reason stays");
  t.equal(halt("canary", "1.6.0", "late", NOW_MS)(text).text, text, "a verdict about another version halts nothing");
  t.throws(() => setVersion("canary", "1.5.0", 20, options)(halted.text), /is halted: error ratio 9 % against 0 %/);
  t.throws(() => promote(false)(halted.text), /is halted/);
  const resumed = setVersion("canary", "1.5.0", 20, { ...options, resume: true })(halted.text);
  t.match(parsePlatform(resumed.text).rollout, { percent: 20, halted: null });
  t.equal(parsePlatform(promote(true)(halted.text).text).channels.get("canary"), "1.5.0");
  t.equal(abort()(halted.text).text, TEXT);
});

t.test("the first version of an empty file is just set", async (t) => {
  const { text } = setVersion("stable", "1.4.0", 10, options)("");
  t.match(parsePlatform(text), { rollout: null });
  t.equal(parsePlatform(text).channels.get("stable"), "1.4.0");
  t.throws(() => setVersion("canary", "1.4.0", 10, options)(""), /defaultChannel/, "the channel that everybody is on has to exist");
});

t.test("namespaces and workloads are put on channels, a workload before its namespace", async (t) => {
  const shop = assignChannel({ namespace: "shop", workload: null }, "canary")(TEXT).text;
  const both = assignChannel({ namespace: "shop", workload: "deployment/web" }, "stable")(shop).text;
  const channelOf = (text: string, name: string) =>
    versionFor(parsePlatform(text), { namespace: "shop", kind: "Deployment", name }, null).channel;
  t.same([channelOf(both, "web"), channelOf(both, "api")], ["stable", "canary"]);
  const other = assignChannel(
    { namespace: "shop", workload: null },
    "canary",
  )(assignChannel({ namespace: "shop", workload: "deployment/web" }, "stable")(TEXT).text).text;
  t.same([channelOf(other, "web"), channelOf(other, "api")], ["stable", "canary"], "whichever was said first");
  const moved = assignChannel({ namespace: "shop", workload: "deployment/web" }, "canary")(both).text;
  t.equal(parsePlatform(moved).assignments.length, 2, "a rule is changed, not doubled");
  const gone = assignChannel({ namespace: "shop", workload: null }, null)(both).text;
  t.same([channelOf(gone, "web"), channelOf(gone, "api")], ["stable", "stable"]);
  t.throws(() => assignChannel({ namespace: "shop", workload: null }, null)(TEXT), /no rule puts namespace shop/);
  t.throws(() => assignChannel({ namespace: "shop", workload: null }, "nightly")(TEXT), /there is no channel "nightly"/);
});

import t from "tap";
import { placeOf } from "../../../injector/platform/channels.ts";
import { type Platform, parsePlatform } from "../../../injector/platform/platform.ts";
import type { Fleet, RegistryInstance } from "../../../injector/rollout/fleet.ts";
import { halt } from "../../../injector/rollout/platform-edit.ts";
import type { PodFacts } from "../../../injector/rollout/pod-facts.ts";
import { type RestarterParts, type RestartOptions, restartStale } from "../../../injector/rollout/restarter.ts";

const START_MS = Date.UTC(2026, 0, 1);
const OPTIONS: RestartOptions = { paceMs: 10_000, maxUnavailable: 2, pollMs: 1_000, observeMs: 30_000, settleMs: 300_000 };
const TEXT = `channels: { stable: 1.0.0 }
rollout: { channel: stable, from: 1.0.0, to: 2.0.0, percent: 50% }
rolloutPolicy: { heartbeatGrace: 20s }
`;

interface World {
  readonly parts: RestarterParts;
  readonly options: RestartOptions;
  readonly lines: string[];
  readonly restartedAtMs: Map<string, number>;
  text: string;
  nowMs: number;
  /** Most owners that were under way at once. */
  mostMoving: number;
}

/** Twenty workloads of one pod each, whose new pod is ready `readyAfterMs` after a restart. `errors` of 100 requests a second fail in the new version. */
function world({
  errors = 0,
  readyAfterMs = 5_000,
  text = TEXT,
  looksFail = 0,
}: {
  errors?: number;
  readyAfterMs?: number;
  text?: string;
  looksFail?: number;
} = {}): World {
  const restartedAtMs = new Map<string, number>();
  const names = Array.from({ length: 20 }, (_, index) => `web-${index}`);
  let failing = looksFail;
  const facts = (name: string): PodFacts => {
    const at = restartedAtMs.get(name);
    return {
      uid: at === undefined ? `${name}-old` : `${name}-new`,
      namespace: "shop",
      name,
      owner: { namespace: "shop", kind: "Deployment", name },
      version: at === undefined ? "1.0.0" : wantedOf(name),
      askedChannel: null,
      hasOwnImage: false,
      createdAtMs: at ?? START_MS - 3600_000,
      isScheduled: true,
      isOver: false,
    };
  };
  function wantedOf(name: string): string {
    const { rollout } = parsePlatform(made.text);
    if (rollout === null) return parsePlatform(made.text).channels.get("stable") ?? "";
    return rollout.halted === null && placeOf({ namespace: "shop", kind: "Deployment", name }) < rollout.percent ? "2.0.0" : "1.0.0";
  }
  const isReady = (name: string) => made.nowMs - (restartedAtMs.get(name) ?? 0) >= readyAfterMs;
  function instance(name: string): RegistryInstance {
    const { uid, version } = facts(name);
    const seconds = Math.max(0, (made.nowMs - (restartedAtMs.get(name) ?? START_MS - 60_000)) / 1000);
    const requests = Math.round(seconds * 100);
    const load = {
      requests,
      errors: version === "2.0.0" ? Math.round((requests * errors) / 100) : 0,
      refused: 0,
      rps: 100,
      errorRatio: 0,
      inFlight: 0,
      p99Ms: 1,
    };
    return {
      instanceId: uid,
      epoch: 1,
      namespace: "shop",
      identity: "spiffe://x/ns/shop/sa/web",
      version: version ?? "",
      channel: "stable",
      state: isReady(name) ? "ready" : "starting",
      load,
    };
  }
  const made: World = {
    text,
    nowMs: START_MS,
    mostMoving: 0,
    lines: [],
    restartedAtMs,
    options: OPTIONS,
    parts: {
      platform: async (): Promise<Platform> => parsePlatform(made.text),
      fleet: async (): Promise<Fleet> => {
        if (failing > 0) {
          failing -= 1;
          throw new Error("the registry is away");
        }
        made.mostMoving = Math.max(made.mostMoving, names.filter((name) => restartedAtMs.has(name) && !isReady(name)).length);
        return { pods: names.map(facts), namespaceChannels: new Map(), instances: names.map(instance) };
      },
      restart: async ({ owner }) => {
        restartedAtMs.set(owner.name, made.nowMs);
        return "restarted";
      },
      halt: async (rollout, why) => {
        made.text = halt(rollout.channel, rollout.to, why, made.nowMs)(made.text).text;
      },
      nowMs: () => made.nowMs,
      sleep: async (ms) => {
        made.nowMs += ms;
      },
      report: (line) => void made.lines.push(line),
    },
  };
  return made;
}

t.test("a rollout that goes well restarts the share, at its pace, in the order of places", async (t) => {
  const { parts, options, restartedAtMs } = world();
  const end = await restartStale(parts, options);
  t.equal(end.kind, "done");
  const expected = Array.from({ length: 20 }, (_, index) => `web-${index}`)
    .map((name) => ({ name, place: placeOf({ namespace: "shop", kind: "Deployment", name }) }))
    .filter(({ place }) => place < 50)
    .sort((a, b) => a.place - b.place);
  t.same(
    [...restartedAtMs.keys()],
    expected.map(({ name }) => name),
  );
  const times = [...restartedAtMs.values()];
  t.ok(
    times.every((time, index) => index === 0 || time - (times[index - 1] ?? 0) >= 10_000),
    "ten seconds between two",
  );
});

t.test("no more owners are under way than allowed, however slow they are", async (t) => {
  const slow = world({ readyAfterMs: 45_000 });
  t.equal((await restartStale(slow.parts, { ...slow.options, paceMs: 0 })).kind, "done");
  t.ok(slow.mostMoving <= 2, `${slow.mostMoving} at once`);
});

t.test("a version that fails is halted after a few owners", async (t) => {
  const bad = world({ errors: 20 });
  const end = await restartStale(bad.parts, bad.options);
  t.match(end, { kind: "halted", why: /version 2.0.0 does worse than 1.0.0: error ratio/ });
  t.ok(
    bad.restartedAtMs.size >= 2 && bad.restartedAtMs.size <= 4,
    `${bad.restartedAtMs.size} owners: more than one, which might be the app's fault`,
  );
  t.match(parsePlatform(bad.text).rollout?.halted?.why, /error ratio/);
});

t.test("an owner that never becomes ready stops it, and is named", async (t) => {
  const stuck = world({ readyAfterMs: 10 * 3600_000 });
  t.match(await restartStale(stuck.parts, stuck.options), {
    kind: "stuck",
    why: /shop\/deployment\/web-\d+ is not ready 300 s after its restart/,
  });
  t.equal(stuck.restartedAtMs.size, 2, "two may be under way");
});

t.test("what others do meanwhile is heard: halted, aborted", async (t) => {
  const halted = world();
  const { sleep } = halted.parts;
  const after = (steps: number, run: () => void) => {
    let count = 0;
    return async (ms: number) => {
      count += 1;
      if (count === steps) run();
      await sleep(ms);
    };
  };
  const byGuard = after(15, () => {
    halted.text = halt("stable", "2.0.0", "the guard said so", halted.nowMs)(halted.text).text;
  });
  t.match(await restartStale({ ...halted.parts, sleep: byGuard }, halted.options), { kind: "halted", why: "the guard said so" });
  const aborted = world();
  const byPerson = after(15, () => {
    aborted.text = "channels: { stable: 1.0.0 }";
  });
  t.match(await restartStale({ ...aborted.parts, sleep: byPerson }, aborted.options), { kind: "changed" });
});

t.test("while the mesh cannot be seen nothing is restarted, and it is given up in the end", async (t) => {
  const shortly = world({ looksFail: 5 });
  t.equal((await restartStale(shortly.parts, shortly.options)).kind, "done");
  t.match(shortly.lines[0], /the mesh cannot be seen, so nothing is restarted: the registry is away/);
  const never = world({ looksFail: 1_000 });
  await t.rejects(restartStale(never.parts, never.options), /the registry is away/);
  t.equal(never.restartedAtMs.size, 0);
});

t.test("without a rollout everything that is stale is brought to its channel's version", async (t) => {
  const plain = world({ text: "channels: { stable: 3.0.0 }" });
  const end = await restartStale(plain.parts, { ...plain.options, paceMs: 0, maxUnavailable: 20 });
  t.match(end, { kind: "done", why: "every workload has its version" });
  t.equal(plain.restartedAtMs.size, 20);
  t.match(await restartStale(plain.parts, plain.options), { kind: "done", restarted: [] }, "twice is once");
});

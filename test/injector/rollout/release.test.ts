import t from "tap";
import { placeOf, versionFor, type WorkloadOwner } from "../../../injector/platform/channels.ts";
import { injectPod } from "../../../injector/inject.ts";
import { parseMarker } from "../../../injector/patch/marker.ts";
import { type Platform, parsePlatform } from "../../../injector/platform/platform.ts";
import { imageOfVersion } from "../../../injector/rollout/release.ts";
import { defaultInjectorSettings } from "../../../injector/settings.ts";
import { noSurroundings } from "../../../injector/surroundings.ts";

const OWNERS: readonly WorkloadOwner[] = Array.from({ length: 10_000 }, (_, index) => ({
  namespace: `team-${index % 40}`,
  kind: ["Deployment", "StatefulSet", "DaemonSet"][index % 3] ?? "",
  name: `service-${index}`,
}));

function rolloutAt(percent: number, more = ""): Platform {
  return parsePlatform(`
channels: { stable: 1.4.0, canary: 1.5.0 }
rollout: { channel: stable, from: 1.4.0, to: 1.5.0, percent: "${percent}%"${more} }
assign: [{ namespace: payments, channel: canary }]
`);
}

t.test("places are even: each tenth of them holds a tenth of the workloads, in every kind", async (t) => {
  for (const kind of ["Deployment", "StatefulSet", "DaemonSet"]) {
    const tenths = new Array<number>(10).fill(0);
    const owners = OWNERS.filter((owner) => owner.kind === kind);
    for (const owner of owners) tenths[Math.floor(placeOf(owner) / 10)] = (tenths[Math.floor(placeOf(owner) / 10)] ?? 0) + 1;
    for (const count of tenths) t.ok(Math.abs(count / owners.length - 0.1) < 0.02, `${kind}: ${count} of ${owners.length}`);
  }
});

t.test("places are the same today as ever: replicas of any release agree", async (t) => {
  const web = { namespace: "shop", kind: "Deployment", name: "web" };
  t.equal(placeOf({ ...web, kind: "deployment" }), placeOf(web));
  t.equal(placeOf(web), 16.18, "fixed: change it, and every rollout under way is shuffled");
});

t.test("raising the percentage only adds workloads, never takes one out", async (t) => {
  let before = new Set<WorkloadOwner>();
  for (const percent of [0, 0.5, 1, 10, 10.01, 33, 50, 99.9, 100]) {
    const platform = rolloutAt(percent);
    const now = new Set(OWNERS.filter((owner) => versionFor(platform, owner, null).version === "1.5.0"));
    t.ok(
      [...before].every((owner) => now.has(owner)),
      `${percent} % holds all that less did`,
    );
    t.ok(Math.abs(now.size / OWNERS.length - percent / 100) < 0.015, `${percent} %: ${now.size} of ${OWNERS.length}`);
    before = now;
  }
});

t.test("a halted rollout gives the old version to everybody, whatever their place", async (t) => {
  const halted = rolloutAt(100, ", halted: { at: 2026-01-01T00:00:00Z, why: worse }");
  t.same(new Set(OWNERS.map((owner) => versionFor(halted, owner, null).version)), new Set(["1.4.0"]));
});

t.test("annotation beats assignment, assignment beats the default", async (t) => {
  const owner = { namespace: "payments", kind: "Deployment", name: "api" };
  t.equal(versionFor(rolloutAt(0), owner, null).version, "1.5.0");
  t.equal(versionFor(rolloutAt(0), owner, "stable").version, "1.4.0");
  t.equal(versionFor(rolloutAt(0), { ...owner, namespace: "shop" }, null).version, "1.4.0");
  t.equal(versionFor(rolloutAt(0), { ...owner, namespace: "shop" }, "canary").version, "1.5.0");
});

t.test("an image's tag is its version; ports and digests are told apart from tags", async (t) => {
  t.equal(imageOfVersion("remora:0.1.0", "1.5.0"), "remora:1.5.0");
  t.equal(imageOfVersion("remora", "1.5.0"), "remora:1.5.0");
  t.equal(imageOfVersion("registry.example:5000/mesh/remora", "1.5.0"), "registry.example:5000/mesh/remora:1.5.0");
  t.equal(imageOfVersion("registry.example:5000/mesh/remora:0.1.0@sha256:abc", "1.5.0"), "registry.example:5000/mesh/remora:1.5.0");
});

t.test("the injected pod carries image, channel and version of its owner's place", async (t) => {
  const settings = { ...defaultInjectorSettings("1.4.0"), image: "registry.example:5000/remora@sha256:abc" };
  const pod = (name: string, annotations: Readonly<Record<string, string>> = {}) => ({
    metadata: {
      generateName: `${name}-5d5f9c7b8-`,
      labels: { "pod-template-hash": "5d5f9c7b8" },
      annotations,
      ownerReferences: [{ apiVersion: "apps/v1", kind: "ReplicaSet", name: `${name}-5d5f9c7b8`, uid: "1", controller: true }],
    },
    spec: { containers: [{ name: "app", image: "app:1" }] },
  });
  const inject = (value: unknown, platform: Platform) => {
    const { pod: made, warnings } = injectPod(value, { ...noSurroundings("shop"), platform }, { kind: "command" }, settings);
    const sidecar = made?.spec.initContainers?.find(({ name }) => name === "remora-sidecar");
    const env = sidecar?.["env"] as readonly { readonly name: string; readonly value?: string }[];
    const marker = parseMarker(made?.metadata?.annotations?.["remora.io/injected"] ?? "");
    const channel = env.find(({ name }) => name === "REMORA_CHANNEL")?.value;
    return { image: sidecar?.image, channel, marked: [marker?.version, marker?.channel], warnings };
  };
  const expected = (image: string, channel: string, version: string) => ({ image, channel, marked: [version, channel], warnings: [] });
  const platform = rolloutAt(100);
  t.same(inject(pod("web"), platform), expected("registry.example:5000/remora:1.5.0", "stable", "1.5.0"));
  t.same(
    inject(pod("web"), rolloutAt(0)),
    expected("registry.example:5000/remora@sha256:abc", "stable", "1.4.0"),
    "its own version stays pinned",
  );
  t.same(
    inject(pod("web", { "remora.io/channel": "canary" }), rolloutAt(0)),
    expected("registry.example:5000/remora:1.5.0", "canary", "1.5.0"),
  );
  t.equal(inject(pod("web", { "remora.io/image": "mine:7" }), platform).image, "mine:7", "a named image beats every channel");
  const unknown = inject(pod("web", { "remora.io/channel": "nightly" }), platform);
  t.match(unknown, { image: settings.image, channel: "nightly" });
  t.match(unknown.warnings[0], /there is no channel nightly.*stable, canary/);
});

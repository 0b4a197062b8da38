import t from "tap";
import { ownerOf } from "../../injector/pod/owner.ts";
import { placeOf } from "../../injector/platform/channels.ts";
import type { Pod } from "../../injector/pod/pod.ts";

function pod(metadata: object): Pod {
  return { metadata, spec: { containers: [{ name: "app" }] } } as Pod;
}

function controlled(kind: string, name: string, labels?: Record<string, string>): Pod {
  return pod({
    generateName: `${name}-`,
    ownerReferences: [{ kind, name, controller: true, uid: "u", apiVersion: "v1" }],
    ...(labels && { labels }),
  });
}

t.test("the owner of a pod is the workload that people know", async (t) => {
  const cases: readonly [string, Pod, string][] = [
    ["a Deployment", controlled("ReplicaSet", "web-6d4b75cb6d", { "pod-template-hash": "6d4b75cb6d" }), "Deployment/web"],
    ["a Deployment with a dash", controlled("ReplicaSet", "web-a-1b2c", { "pod-template-hash": "1b2c" }), "Deployment/web-a"],
    ["a Rollout", controlled("ReplicaSet", "web-77", { "rollouts-pod-template-hash": "77" }), "Rollout/web"],
    ["a ReplicaSet by itself", controlled("ReplicaSet", "web"), "ReplicaSet/web"],
    [
      "a ReplicaSet whose name only looks so",
      controlled("ReplicaSet", "web-6d4b", { "pod-template-hash": "other" }),
      "ReplicaSet/web-6d4b",
    ],
    ["a hash that is the whole name", controlled("ReplicaSet", "-77", { "pod-template-hash": "77" }), "ReplicaSet/-77"],
    ["an empty hash", controlled("ReplicaSet", "web-", { "pod-template-hash": "" }), "ReplicaSet/web-"],
    ["a StatefulSet", controlled("StatefulSet", "db"), "StatefulSet/db"],
    ["a DaemonSet", controlled("DaemonSet", "agent"), "DaemonSet/agent"],
    ["a Job", controlled("Job", "import"), "Job/import"],
    ["a CronJob", controlled("Job", "report-29386620"), "CronJob/report"],
    ["a Job with a date in its name", controlled("Job", "import-20260101"), "Job/import-20260101"],
    ["a Job with another number", controlled("Job", "import-2938662"), "Job/import-2938662"],
    ["a custom resource", controlled("Database", "main"), "Database/main"],
    ["a pod by itself", pod({ name: "debug" }), "Pod/debug"],
    ["a pod with a generated name", pod({ generateName: "debug-" }), "Pod/debug"],
    ["a pod without a name", pod({}), "Pod/(unnamed)"],
    ["references without a controller", pod({ name: "x", ownerReferences: [{ kind: "ReplicaSet", name: "web" }] }), "Pod/x"],
    ["references that are none", pod({ name: "x", ownerReferences: [null, 7, { controller: true, kind: 1, name: "a" }] }), "Pod/x"],
    ["references that are no list", pod({ name: "x", ownerReferences: "web" }), "Pod/x"],
  ];
  for (const [what, value, expected] of cases) {
    const { namespace, kind, name } = ownerOf(value, "shop");
    t.equal(`${kind}/${name}`, expected, what);
    t.equal(namespace, "shop", what);
  }
});

t.test("all replicas and all turns of a workload have one place in a rollout", async (t) => {
  const place = (value: Pod) => placeOf(ownerOf(value, "shop"));
  const replicaSet = (hash: string) => controlled("ReplicaSet", `web-${hash}`, { "pod-template-hash": hash });
  t.equal(place(replicaSet("aaaa")), place(replicaSet("bbbb")), "over the ReplicaSets of a Deployment");
  t.equal(place(controlled("Job", "report-29386620")), place(controlled("Job", "report-29388060")), "over the Jobs of a CronJob");
});

// Rollouts on the real API server with the real registry: 200 workloads, the real command line, and versions that do well or badly. What is real here are
// admission, the ConfigMap, patches, heartbeats and both judges; what is simulated are controllers and the traffic of sidecars.
import { execFile } from "node:child_process";
import { resolve } from "node:path";
import t from "tap";
import { parsePlatform } from "../../injector/platform/platform.ts";
import { assignChannel } from "../../injector/rollout/platform-edit.ts";
import { connectRolloutApi } from "../../injector/rollout/rollout-api.ts";
import { readFileSync } from "node:fs";
import { until } from "../e2e/until.ts";
import { CONTROL_NAMESPACE, install, lacksCluster } from "./installation.ts";
import { type Behaviour, simulateWorkloads } from "./simulated-workloads.ts";

t.setTimeout(800_000);

const REMORA = resolve(import.meta.dirname, "../../bin/remora");
const WORKLOADS = 200;
const COMMAND_TIMEOUT_MS = 120_000;
const OLD = "0.1.0";
const GOOD: Behaviour = { requests: 120, errors: 0, refused: 0, beats: true };
/** By version; what is not here does well. */
const BEHAVIOURS: Readonly<Record<string, Behaviour>> = {
  [OLD]: { ...GOOD, errors: 0.3 },
  "0.2.0": { ...GOOD, errors: 12 },
  "0.4.0": { ...GOOD, refused: 18 },
};
const PLATFORM = `# kept by the platform team
channels: { stable: ${OLD} }
rolloutPolicy: { minimumRequests: 100, minimumPods: 3, heartbeatGrace: 15s, pace: 100ms, observe: 4s }
`;

t.test("rollouts", { skip: lacksCluster }, async (t) => {
  const { kubernetes, node } = await install(t, {
    beforeStart: async ({ api }) => {
      const metadata = { name: "remora-platform", namespace: CONTROL_NAMESPACE };
      await api.call(`/api/v1/namespaces/${CONTROL_NAMESPACE}/configmaps`, { body: { metadata, data: { "platform.yaml": PLATFORM } } });
    },
  });
  const { api } = kubernetes;
  await kubernetes.createNamespace("shop", { labels: { "remora.io/inject": "enabled" } });
  const control = node.pods(`${CONTROL_NAMESPACE}/remora-control`)[0];
  const registry = `http://${control?.facts.podIps[0]}:15014`;
  const names = Array.from({ length: WORKLOADS }, (_, index) => `web-${index}`);
  const startedMs = Date.now();
  const workloads = await simulateWorkloads(t, {
    kubernetes,
    namespace: "shop",
    names,
    registry,
    heartbeatMs: 7000,
    behaviour: (version) => BEHAVIOURS[version] ?? GOOD,
  });
  t.comment(`${WORKLOADS} workloads admitted in ${Date.now() - startedMs} ms`);
  t.equal(workloads.withVersion(OLD).length, WORKLOADS, "all begin with the channel's version");

  const platform = async () => {
    const { data } = (await api.object(`/api/v1/namespaces/${CONTROL_NAMESPACE}/configmaps/remora-platform`)) as unknown as {
      data: Record<string, string>;
    };
    return parsePlatform(data["platform.yaml"] ?? "");
  };
  /** The real command line, through the API server's proxy to the registry. */
  const remora = (...words: readonly string[]) =>
    new Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }>((done) => {
      const args = ["rollout", ...words, "--kubeconfig", kubernetes.kubeconfig];
      execFile(REMORA, args, { timeout: COMMAND_TIMEOUT_MS, env: { ...process.env, NO_COLOR: "1" } }, (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === "number" ? error.code : 1;
        done({ code, stdout, stderr });
      });
    });
  const json = (text: string) => JSON.parse(text) as Readonly<Record<string, never>>;
  const QUICKLY = ["--pace", "10/s", "--max-unavailable", "6", "--interval", "500ms", "--settle", "60s"];

  await t.test("the registry knows everybody, and status shows it", async (t) => {
    await until("every instance is known", 60_000, async () => {
      const { stdout = "" } = (await control?.exec("control", ["curl", "-sS", "http://127.0.0.1:15014/api/v1/instances"])) ?? {};
      const { total } = JSON.parse(stdout === "" ? "{}" : stdout) as { readonly total?: number }; // empty: it did not answer
      return total === WORKLOADS;
    });
    let { code, stdout, stderr } = await remora("status", "-o", "json");
    // On a busy machine the control plane may have missed its liveness probes and be starting again; on a fast one pods are too young to have lost heartbeats.
    await until("the registry answers through the API server, and of all pods", 60_000, async () => {
      const isKnown = code === 0 && !stdout.includes('"heartbeatLoss": null');
      if (!isKnown) ({ code, stdout, stderr } = await remora("status", "-o", "json"));
      return isKnown;
    });
    t.equal(code, 0, stderr);
    t.match(json(stdout), {
      channels: { stable: OLD },
      versions: [{ channel: "stable", version: OLD, workloads: WORKLOADS, pods: WORKLOADS, instances: WORKLOADS, heartbeatLoss: 0 }],
      stale: [],
    });
    t.match((await remora("status")).stdout, /stable\s+0\.1\.0\s+200\s+200\s+200/);
  });

  await t.test("a version that misbehaves halts the rollout, below its share", async (t) => {
    const share = 20;
    t.match(await remora("set", "stable=0.2.0", "--percent", String(share), "--dry-run"), { code: 0, stdout: /dry run/ });
    t.equal((await platform()).rollout, null, "a dry run changes nothing");
    t.match(await remora("set", "stable=0.2.0", "--percent", String(share)), { code: 0 });
    const plan = json((await remora("restart", "--dry-run", "-o", "json")).stdout)["workloads"] as unknown as readonly {
      readonly workload: string;
    }[];
    t.ok(Math.abs(plan.length - (WORKLOADS * share) / 100) <= 14, `${plan.length} of ${WORKLOADS} are in the share of ${share} %`);
    const beganMs = Date.now();
    const { code, stdout, stderr } = await remora("restart", ...QUICKLY);
    const tookMs = Date.now() - beganMs;
    t.equal(code, 3, stderr);
    t.match(stdout, /HALTED: version 0\.2\.0 does worse than 0\.1\.0: error ratio \d/);
    const affected = workloads.withVersion("0.2.0").length;
    t.ok(affected > 0 && affected < plan.length, `${affected} affected, fewer than the ${plan.length} of the share`);
    t.comment(
      `halted after ${tookMs} ms: ${affected} of ${WORKLOADS} workloads affected (${(affected / WORKLOADS) * 100} %), share configured ${share} % (${plan.length})`,
    );
    t.match((await platform()).rollout, { to: "0.2.0", halted: { why: /error ratio/ } }, "everybody can see it");
    t.match(await remora("restart", ...QUICKLY), { code: 3 }, "nothing more is restarted");
    t.match(await remora("status"), { code: 3, stdout: /HALTED .*error ratio/ });
    t.match(await remora("promote"), { code: 1, stderr: /is halted/ });
  });

  await t.test("aborted, everybody goes back", async (t) => {
    t.match(await remora("abort"), { code: 0, stdout: /channel stable is back at 0\.1\.0/ });
    t.match(await remora("restart", ...QUICKLY, "-o", "json"), { code: 0 });
    t.equal(workloads.withVersion(OLD).length, WORKLOADS);
  });

  await t.test("a version that does well is promoted", async (t) => {
    t.match(await remora("set", "stable=0.3.0", "--percent", "10"), { code: 0 });
    const { code, stdout, stderr } = await remora("restart", ...QUICKLY, "--promote", "-o", "json");
    t.equal(code, 0, stderr);
    const end = json(stdout) as unknown as { readonly kind: string; readonly restarted: readonly string[]; readonly promoted: string };
    t.match(end, { kind: "done", promoted: /channel stable has version 0\.3\.0 now/ });
    t.equal(workloads.withVersion("0.3.0").length, end.restarted.length, "just the share has moved");
    t.match(await platform(), { rollout: null });
    t.equal((await platform()).channels.get("stable"), "0.3.0");
    t.ok(
      [...workloads.replaced.values()].every((count) => count <= 3),
      "nobody was restarted for nothing",
    );
  });

  /** Restarts the first of the share as a person would, without our command. */
  async function restartSome(count: number): Promise<readonly string[]> {
    const plan = json((await remora("restart", "--dry-run", "-o", "json")).stdout)["workloads"] as unknown as readonly {
      readonly workload: string;
    }[];
    const chosen = plan.slice(0, count).map(({ workload }) => workload.split("/").at(-1) ?? "");
    await kubernetes.kubectl(["rollout", "restart", "-n", "shop", ...chosen.map((name) => `deployment/${name}`)]);
    return chosen;
  }

  await t.test("the guard in the control plane halts a rollout while no command runs", async (t) => {
    const version = "0.4.0";
    const what = /refused rate/;
    t.match(await remora("set", `stable=${version}`, "--percent", "10"), { code: 0 });
    const chosen = await restartSome(6);
    await until("the new pods run", 60_000, () => chosen.every((name) => workloads.pod(name)?.version === version));
    const beganMs = Date.now();
    await until("the rollout is halted", 60_000, async () => (await platform()).rollout?.halted !== null);
    t.match((await platform()).rollout?.halted?.why, what);
    t.comment(`the guard halted ${version} ${Date.now() - beganMs} ms after ${chosen.length} workloads had it`);
    // The ConfigMap is edited first and the Event written after it.
    await until("an Event says so", 60_000, async () => {
      const { stdout } = await kubernetes.kubectl(["get", "events", "-n", CONTROL_NAMESPACE, "-o", "json"]);
      const events = (JSON.parse(stdout) as { items: readonly { reason: string; message: string }[] }).items;
      return events.some(({ reason, message }) => reason === "RolloutHalted" && what.test(message));
    });
    const fresh = workloads.withVersion("0.3.0")[0] ?? "";
    await kubernetes.kubectl(["rollout", "restart", "-n", "shop", `deployment/${fresh}`]);
    await until(
      "a pod is made while it is halted",
      60_000,
      () => (workloads.replaced.get(fresh) ?? 0) > 0 && workloads.pod(fresh)?.version !== version,
    );
    t.equal(workloads.pod(fresh)?.version, "0.3.0", "new pods get the old version");
    t.match(await remora("abort"), { code: 0 });
  });

  await t.test("two people at once: one is told, and nothing of the other is lost", async (t) => {
    const people = await Promise.all(
      Array.from({ length: 5 }, () => connectRolloutApi(CONTROL_NAMESPACE, { kubeconfig: readFileSync(kubernetes.kubeconfig, "utf8") })),
    );
    const edits = await Promise.allSettled(
      people.map((person, index) => person.editPlatform(assignChannel({ namespace: `team-${index}`, workload: null }, "stable"))),
    );
    const assigned = new Set((await platform()).assignments.map(({ namespace }) => namespace));
    for (const [index, edit] of edits.entries()) {
      t.equal(assigned.has(`team-${index}`), edit.status === "fulfilled", `${index}: ${edit.status}`);
      if (edit.status === "rejected") t.match(String(edit.reason), /changed by somebody else at the same time/);
    }
    t.ok(edits.some(({ status }) => status === "rejected") && edits.some(({ status }) => status === "fulfilled"));
    const all = await Promise.all(
      people.map((person, index) =>
        person.editPlatform(assignChannel({ namespace: `late-${index}`, workload: null }, "stable"), { retry: true }),
      ),
    );
    t.equal(all.length, 5, "the guard tries again instead");
    t.equal((await platform()).assignments.filter(({ namespace }) => namespace?.startsWith("late-")).length, 5);
  });
});

// `remora rollout restart`: runs the restarter against the cluster, and says what happens while it does.
import { setTimeout as wait } from "node:timers/promises";
import { PLATFORM_CONFIG_MAP } from "../../injector/platform/platform.ts";
import { workloadsOf } from "../../injector/rollout/fleet.ts";
import { halt, promote } from "../../injector/rollout/platform-edit.ts";
import { type RestartEnd, restartStale, staleOnes } from "../../injector/rollout/restarter.ts";
import { RESTARTABLE_KINDS } from "../../injector/rollout/rollout-api.ts";
import type { RestartFlags } from "../rollout-command.ts";
import { connectMesh, print, type RolloutMesh } from "./connect.ts";

/** Exit codes by how it ended. */
const EXITS: Readonly<Record<RestartEnd["kind"], number>> = { done: 0, halted: 3, stuck: 4, changed: 1 };

/** Restarts what is stale. */
export async function restart(flags: RestartFlags): Promise<number> {
  const mesh = await connectMesh(flags);
  if (flags.dryRun === true) return showPlan(mesh, flags);
  const { api } = mesh;
  const policy = (await mesh.platform()).rolloutPolicy;
  const end = await restartStale(
    {
      platform: mesh.platform,
      fleet: mesh.fleet,
      restart: ({ owner }) => api.restart(owner, Date.now()),
      async halt(rollout, why) {
        const { summary } = await api.editPlatform(halt(rollout.channel, rollout.to, why, Date.now()), { retry: true });
        const on = { apiVersion: "v1", kind: "ConfigMap", namespace: api.controlNamespace, name: PLATFORM_CONFIG_MAP };
        await api.note({ on, type: "Warning", reason: "RolloutHalted", message: summary }, Date.now());
      },
      nowMs: Date.now,
      sleep: async (ms) => void (await wait(ms)),
      // What a script reads is the result at the end.
      report: (line) => void process.stderr.write(`${new Date().toISOString()} ${line}\n`),
    },
    {
      paceMs: flags.pace ?? policy.paceMs,
      maxUnavailable: flags.maxUnavailable,
      pollMs: flags.interval,
      observeMs: flags.observe ?? policy.observeMs,
      settleMs: flags.settle,
      only: ({ owner }) => flags.namespace === undefined || owner.namespace === flags.namespace,
    },
  );
  const promoted = flags.promote === true && end.kind === "done" ? await promoteIfUnderWay(mesh) : null;
  print(flags, { ...end, promoted }, formatEnd(end, promoted));
  return EXITS[end.kind];
}

/** The summary; null where no rollout is under way. */
async function promoteIfUnderWay({ api, platform }: RolloutMesh): Promise<string | null> {
  if ((await platform()).rollout === null) return null;
  return (await api.editPlatform(promote(false))).summary;
}

async function showPlan({ platform, fleet }: RolloutMesh, flags: RestartFlags): Promise<number> {
  const decided = await platform();
  const workloads = workloadsOf(await fleet(), decided);
  const stale = staleOnes(workloads, ({ owner }) => flags.namespace === undefined || owner.namespace === flags.namespace);
  const plan = stale.map(({ key, owner, wanted, stale: pods }) => ({
    workload: key,
    wanted,
    pods: pods.length,
    restartable: RESTARTABLE_KINDS.has(owner.kind),
  }));
  const halted = decided.rollout?.halted ?? null;
  const lines = plan.map(
    ({ workload, wanted, pods, restartable }) =>
      `${workload}: ${pods} pods to ${wanted}${restartable ? "" : " (left: its kind is not restarted)"}`,
  );
  if (halted !== null) lines.unshift(`nothing would be restarted, the rollout is halted: ${halted.why}`);
  print(flags, { dryRun: true, halted, workloads: plan }, lines.length === 0 ? "nothing is stale" : lines.join("\n"));
  return halted === null ? 0 : EXITS.halted;
}

function formatEnd({ kind, why, restarted, left }: RestartEnd, promoted: string | null): string {
  const count = `${restarted.length} restarted${left.length === 0 ? "" : `, ${left.length} left as they are`}`;
  const head = { done: "done", halted: "HALTED", stuck: "STUCK", changed: "stopped" }[kind];
  return [`${head}: ${why}`, count, ...(promoted === null ? [] : [promoted])].join("\n");
}

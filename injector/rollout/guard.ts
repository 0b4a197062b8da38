// The guard of a rollout in the control plane: while one is under way it looks at the mesh again and again, and halts the rollout in the platform's
// ConfigMap when the new version does worse, so that a rollout is safe also while nobody's terminal is open. It never starts, widens or takes back
// anything: those are people's decisions.
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import type { Metrics } from "../../core/metrics.ts";
import type { EventRecorder } from "../webhook/events.ts";
import { PLATFORM_CONFIG_MAP, type Platform } from "../platform/platform.ts";
import type { Fleet } from "./fleet.ts";
import { createObservation, describeVerdict, haltReason, type Observation } from "./observation.ts";
import { halt } from "./platform-edit.ts";
import type { RolloutApi } from "./rollout-api.ts";

/** What the guard works with. */
export interface GuardParts {
  readonly api: Pick<RolloutApi, "editPlatform" | "controlNamespace">;
  readonly events: Pick<EventRecorder, "record">;
  /** Null while it is not known. */
  readonly platform: () => Platform | null;
  /** One look at the mesh; rejects when the registry or the API server does not answer. */
  readonly fleet: () => Promise<Fleet>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** The guard; the leader calls `look` every few seconds. */
export interface Guard {
  /** Looks, and halts the rollout where it has to. Never rejects. */
  look(): Promise<void>;
}

/** Makes the guard. */
export function createGuard({ api, events, platform, fleet, clock, log, metrics }: GuardParts): Guard {
  const halts = metrics.counter({ name: "remora_rollout_halts_total", help: "Rollouts halted because the new version did worse." });
  const failures = metrics.counter({
    name: "remora_rollout_looks_failed_total",
    help: "Looks at a rollout for which the mesh could not be read.",
  });
  /** Set while a rollout is under way: which, and what was seen of it. */
  let watched: { readonly id: string; readonly observation: Observation } | null = null;

  async function look(): Promise<void> {
    const current = platform();
    const { rollout } = current ?? {};
    if (current === null || rollout === undefined || rollout === null || rollout.halted !== null) {
      watched = null;
      return;
    }
    const id = [rollout.channel, rollout.from, rollout.to, rollout.startedAt].join(" ");
    if (watched?.id !== id) {
      watched = { id, observation: createObservation() };
      log.info({ rollout }, "watching a rollout");
    }
    const { observation } = watched;
    observation.look(await fleet(), clock.nowMs());
    const judgement = observation.judge(current);
    if (judgement === null) return;
    const why = haltReason(judgement);
    log.debug({ verdict: judgement.verdict }, describeVerdict(judgement));
    if (why === null) return;
    const edit = await api.editPlatform(halt(rollout.channel, rollout.to, why, clock.nowMs()), { retry: true });
    halts.inc();
    log.error({ rollout, why }, "rollout halted");
    const regarding = { apiVersion: "v1", kind: "ConfigMap", namespace: api.controlNamespace, name: PLATFORM_CONFIG_MAP };
    events.record({ regarding, type: "Warning", reason: "RolloutHalted", action: "Halting", note: edit.summary, about: id });
  }

  return {
    look: () =>
      look().catch((error: unknown) => {
        failures.inc();
        // Fails open on purpose: a registry that is away says nothing about the new version. It is seen in the metric and here.
        log.warn({ err: error }, "a rollout could not be looked at");
      }),
  };
}

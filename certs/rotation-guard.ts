// Whether the mesh survives a step of a root's rotation. Every live workload proves with its heartbeats which root its leaf is of and which it believes; what is
// not proven counts as not so. Pure: the figures come from all replicas of the control plane.
import { spiffeParts, type SpiffeId } from "../core/spiffe.ts";
import type { AuthorityStatus } from "./authority-status.ts";
import type { RotationAction } from "./rotation.ts";

/** Clocks of replicas may differ by as much. */
const SLACK_MS = 1000;
/** Workloads named in one obstacle. */
const NAMED = 5;

/** One workload as the registry knows it. */
export interface LiveLeaf {
  readonly instanceId: string;
  readonly identity: string;
  readonly version: string;
  /** 0: it has no certificate, as one that announces itself over REST. */
  readonly certExpiresAtMs: number;
  /** `rootIdOf` the root of its leaf; "" when it does not say. */
  readonly issuedByRoot: string;
  /** Every root that it believes; empty when it does not say. */
  readonly trustedRoots: readonly string[];
}

/** One replica of the control plane. */
export interface Replica {
  readonly name: string;
  /** Null: it runs no CA, or did not answer. */
  readonly status: AuthorityStatus | null;
  /** Why it did not answer; null: it did. */
  readonly problem: string | null;
}

/** What keeps a step from being taken now. */
export interface Obstacle {
  readonly code:
    | "replica_behind"
    | "replica_silent"
    | "nobody_answers"
    | "does_not_trust"
    | "not_proven"
    | "still_chains"
    | "may_be_asleep";
  readonly message: string;
}

/** Everything that a step is judged by. */
export interface GuardFacts {
  /** What is kept, as it was just read. */
  readonly kept: AuthorityStatus;
  readonly replicas: readonly Replica[];
  readonly leaves: readonly LiveLeaf[];
  /** Epoch ms. */
  readonly nowMs: number;
}

/** Why `action` is not to be taken now; empty when it may. The order is that of urgency. */
export function findObstacles(action: RotationAction, facts: GuardFacts): readonly Obstacle[] {
  const signs = idOf(facts.kept, "signs");
  switch (action) {
    case "add":
      return []; // to trust more breaks nobody
    case "issue":
      return [...replicaObstacles(facts), ...trustObstacles(idOf(facts.kept, "next"), facts)];
    case "back":
      return [...replicaObstacles(facts), ...trustObstacles(idOf(facts.kept, "old"), facts)];
    case "remove":
    case "cancel":
      return [
        ...replicaObstacles(facts),
        ...trustObstacles(signs, facts),
        ...chainObstacles(signs, facts),
        ...sleepObstacles(action, facts),
      ];
  }
}

/** Every replica answers, and has taken the step that there was: it may sign for, or believe, somebody in the old way until then. */
function replicaObstacles({ kept, replicas }: GuardFacts): readonly Obstacle[] {
  if (!replicas.some(({ status }) => status !== null))
    return [{ code: "nobody_answers", message: "no control plane with a CA answers, so that nothing is known of live workloads" }];
  const silent = replicas.filter(({ problem }) => problem !== null);
  const behind = replicas.filter(({ status }) => status !== null && !agrees(status, kept));
  return [
    ...silent.map(({ name, problem }) => obstacle("replica_silent", `${name} does not answer: ${problem}`)),
    ...behind.map(({ name, status }) =>
      obstacle(
        "replica_behind",
        `${name} is at "${status?.step}" still, "${kept.step}" is kept${status?.trouble === null ? "" : `: ${status?.trouble.message}`}`,
      ),
    ),
  ];
}

function agrees(status: AuthorityStatus, kept: AuthorityStatus): boolean {
  const ids = (one: AuthorityStatus) => one.roots.map(({ id }) => id).sort();
  return status.step === kept.step && idOf(status, "signs") === idOf(kept, "signs") && ids(status).join() === ids(kept).join();
}

/** Everybody believes the root that is to sign, or that is to be the only one. */
function trustObstacles(rootId: string, { leaves }: GuardFacts): readonly Obstacle[] {
  const certified = leaves.filter(({ certExpiresAtMs }) => certExpiresAtMs > 0);
  const silent = certified.filter(({ trustedRoots }) => trustedRoots.length === 0);
  const distrusting = certified.filter(({ trustedRoots }) => trustedRoots.length > 0 && !trustedRoots.includes(rootId));
  return [
    ...some("does_not_trust", distrusting, (who) => `${who} not trust root ${rootId} yet`),
    ...some("not_proven", silent, (who) => `${who} not say which roots are trusted (a sidecar of an older version)`),
  ];
}

/** Nobody's leaf is of another root. */
function chainObstacles(rootId: string, { leaves }: GuardFacts): readonly Obstacle[] {
  const others = leaves.filter(
    ({ certExpiresAtMs, issuedByRoot, trustedRoots }) => certExpiresAtMs > 0 && trustedRoots.length > 0 && issuedByRoot !== rootId,
  );
  return some("still_chains", others, (who) => `${who} not have a certificate of root ${rootId} yet`);
}

/** Who is alive and not heard of now may hold the last leaf that was issued from the root that goes. */
function sleepObstacles(action: RotationAction, { kept, replicas, nowMs }: GuardFacts): readonly Obstacle[] {
  // A root that was added and never signed has no leaves.
  if (action === "cancel" && !kept.hasGoneBack) return [];
  const until = replicas.flatMap(({ status }) =>
    status === null || status.leafTtlMs === null || status.signsSinceMs === null ? [] : [status.signsSinceMs + status.leafTtlMs + SLACK_MS],
  );
  const untilMs = Math.max(kept.sinceMs, ...until);
  if (nowMs >= untilMs) return [];
  const waitS = Math.ceil((untilMs - nowMs) / 1000);
  return [
    obstacle(
      "may_be_asleep",
      `a workload that is not heard of now may hold a certificate of the root that goes until ${new Date(untilMs).toISOString()} (${waitS} s)`,
    ),
  ];
}

/** The id of the first root with `role`; "" when there is none. */
export function idOf({ roots }: AuthorityStatus, role: AuthorityStatus["roots"][number]["role"]): string {
  return roots.find((root) => root.role === role)?.id ?? "";
}

function some(code: Obstacle["code"], leaves: readonly LiveLeaf[], say: (who: string) => string): readonly Obstacle[] {
  if (leaves.length === 0) return [];
  const named = leaves.slice(0, NAMED).map(({ identity, instanceId }) => `${account(identity)} (${instanceId.slice(0, 8)})`);
  const rest = leaves.length > NAMED ? `, and ${leaves.length - NAMED} more` : "";
  const who = `${leaves.length} live ${leaves.length === 1 ? "workload does" : "workloads do"}`;
  return [obstacle(code, `${say(who)}: ${named.join(", ")}${rest}`)];
}

function account(identity: string): string {
  const { namespace, serviceAccount } = spiffeParts(identity as SpiffeId); // the registry has checked it
  return `${namespace}/${serviceAccount}`;
}

function obstacle(code: Obstacle["code"], message: string): Obstacle {
  return { code, message };
}

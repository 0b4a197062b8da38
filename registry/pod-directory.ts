// The pods that the registry watches, by UID and by address, and who waits to hear of one: a sidecar may announce itself a moment before the watch brings
// its pod, or the pod's address.
import type { Clock } from "../core/clock.ts";
import type { ObjectChange } from "../core/kubernetes/watched-list.ts";
import { type KubernetesPod, USUALLY_SKIPPED } from "./kubernetes-pods.ts";
import type { Pods } from "./service-source.ts";
import { createSparseIndex } from "./sparse-index.ts";

/** Who would wait beyond is answered at once. */
const MAX_WAITING = 10_000;

/** {@link Pods} for the source that watches them. */
export interface PodDirectory extends Pods {
  take(changes: readonly ObjectChange<KubernetesPod>[]): void;
  /** Answers everybody who waits. */
  close(): void;
}

/** `skippedIn`: the ports that pods of a namespace skip unless they say otherwise. */
export function createPodDirectory(clock: Clock, skippedIn: (namespace: string) => ReadonlySet<number> | undefined): PodDirectory {
  const pods = new Map<string, KubernetesPod>();
  const byAddress = createSparseIndex();
  const waiting = new Map<string, Set<(isNews: boolean) => void>>();
  let waitingCount = 0;

  function index(pod: KubernetesPod, apply: "add" | "remove"): void {
    if (pod.onHostNetwork) return; // its node's addresses say nothing of it
    for (const address of pod.addresses) byAddress[apply](address, pod.uid);
  }

  function remove(uid: string): void {
    const known = pods.get(uid);
    if (known !== undefined) index(known, "remove");
    pods.delete(uid);
  }

  function wake(uid: string, isNews: boolean): void {
    for (const run of waiting.get(uid) ?? []) run(isNews);
  }

  return {
    get: (uid) => pods.get(uid),
    at: (address) => byAddress.get(address),
    skips(uid, port) {
      const pod = pods.get(uid);
      return pod !== undefined && (pod.skippedPorts ?? skippedIn(pod.namespace) ?? USUALLY_SKIPPED).has(port);
    },
    changed(uid, forMs) {
      if (waitingCount >= MAX_WAITING) return Promise.resolve(false);
      return new Promise((resolve) => {
        const own = waiting.get(uid) ?? new Set();
        const done = (isNews: boolean) => {
          timer.cancel();
          if (own.delete(done)) waitingCount -= 1;
          if (own.size === 0) waiting.delete(uid);
          resolve(isNews);
        };
        const timer = clock.after(forMs, () => done(false));
        waiting.set(uid, own.add(done));
        waitingCount += 1;
      });
    },
    take(changes) {
      for (const { before, after } of changes) {
        // The same name may be another pod now, as those of a StatefulSet.
        if (before !== null) remove(before.uid);
        if (after !== null) {
          pods.set(after.uid, after);
          index(after, "add");
        }
        for (const uid of new Set([before?.uid, after?.uid])) if (uid !== undefined) wake(uid, true);
      }
    },
    close() {
      for (const uid of [...waiting.keys()]) wake(uid, false);
    },
  };
}

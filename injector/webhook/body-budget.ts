// Bounds what request bodies may take in memory together. A burst of large pods waits its turn in the kernel's buffers, where it costs the client time,
// instead of in ours, where it would cost the process its life.

/** A share of the budget; give it back exactly once. */
export interface BodyBudget {
  /** Waits until `bytes` are free, first come first served; more than the whole budget counts as the whole. */
  take(bytes: number): Promise<void> | null;
  /** Gives `bytes` back, as taken. */
  giveBack(bytes: number): void;
  /** Bytes that are taken. */
  readonly taken: number;
}

/** Makes a budget of `limitBytes`. How many wait is bounded by who makes the requests: connections and their streams. */
export function createBodyBudget(limitBytes: number): BodyBudget {
  const waiting: { readonly bytes: number; readonly go: () => void }[] = [];
  let taken = 0;
  const cost = (bytes: number) => Math.min(bytes, limitBytes);
  return {
    take(bytes) {
      if (waiting.length === 0 && taken + cost(bytes) <= limitBytes) {
        taken += cost(bytes);
        return null;
      }
      return new Promise((go) => waiting.push({ bytes: cost(bytes), go }));
    },
    giveBack(bytes) {
      taken -= cost(bytes);
      for (let next = waiting[0]; next !== undefined && taken + next.bytes <= limitBytes; next = waiting[0]) {
        waiting.shift();
        taken += next.bytes;
        next.go();
      }
    },
    get taken() {
      return taken;
    },
  };
}

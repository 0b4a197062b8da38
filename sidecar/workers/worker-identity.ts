// The identity of a worker: what the first process holds, told on each change. A worker asks no control plane for anything.
import type { SpiffeId } from "../../core/spiffe.ts";
import { spiffeParts } from "../../core/spiffe.ts";
import type { Credentials, IdentitySource } from "../identity/identity-source.ts";

/** An identity source that is told. */
export interface WorkerIdentity extends IdentitySource {
  /** Swaps in new credentials; open connections keep what they have. */
  take(credentials: Credentials): void;
}

/** Makes one that holds `first`. `onError` hears of listeners that fail. */
export function createWorkerIdentity(identity: SpiffeId, first: Credentials, onError: (error: unknown) => void): WorkerIdentity {
  const watchers = new Set<(credentials: Credentials) => void>();
  let current = first;
  return {
    identity,
    trustDomain: spiffeParts(identity).trustDomain,
    current: () => current,
    onChange(run) {
      watchers.add(run);
      return () => void watchers.delete(run);
    },
    grpcChannel() {
      throw new Error("only the first process speaks to the control plane");
    },
    take(credentials) {
      current = credentials;
      for (const run of watchers) {
        try {
          run(credentials);
        } catch (error) {
          onError(error);
        }
      }
    },
    async close() {
      watchers.clear();
    },
  };
}

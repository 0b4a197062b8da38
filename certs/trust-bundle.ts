// The roots that the mesh trusts, with a version that grows at each change, and whoever wants to hear of changes. Rotation (`remora ca rotate`)
// will call `replace`; today the bundle changes never.
import { X509Certificate } from "node:crypto";
import { toPem } from "../core/x509/pem.ts";
import { formatPin } from "../core/x509/pin.ts";

/** One version of the bundle. Immutable. */
export interface TrustBundle {
  readonly version: number;
  /** DER, at least one. */
  readonly roots: readonly Buffer[];
  readonly certificates: readonly X509Certificate[];
  readonly rootsPem: string;
  /** `sha256:<hex>` of each root. */
  readonly pins: readonly string[];
}

/** The current bundle and its changes. */
export interface TrustState {
  current(): TrustBundle;
  /** Calls `run` after each change. Returns the unsubscriber. */
  onChange(run: (bundle: TrustBundle) => void): () => void;
  /** Swaps in new roots (DER, at least one). */
  replace(roots: readonly Buffer[]): void;
}

export function createTrustState(roots: readonly Buffer[]): TrustState {
  const watchers = new Set<(bundle: TrustBundle) => void>();
  let current = bundleOf(1, roots);
  return {
    current: () => current,
    onChange(run) {
      watchers.add(run);
      return () => void watchers.delete(run);
    },
    replace(next) {
      current = bundleOf(current.version + 1, next);
      for (const run of watchers) run(current);
    },
  };
}

function bundleOf(version: number, roots: readonly Buffer[]): TrustBundle {
  if (roots.length === 0) throw new RangeError("a trust bundle needs a root");
  return {
    version,
    roots,
    certificates: roots.map((root) => new X509Certificate(root)),
    rootsPem: roots.map((root) => toPem(root, "CERTIFICATE")).join(""),
    pins: roots.map(formatPin),
  };
}

// The roots that the mesh trusts and the one of them that signs, with a version that grows at each change, and whoever wants to hear of changes. Rotation
// (`remora ca rotate`) and a CA that others keep change it.
import { X509Certificate } from "node:crypto";
import { toPem } from "../core/x509/pem.ts";
import { formatPin } from "../core/x509/pin.ts";
import { rootIdOf } from "../core/x509/root-id.ts";

/** One version of the bundle. Immutable. */
export interface TrustBundle {
  readonly version: number;
  /** DER, at least one. */
  readonly roots: readonly Buffer[];
  readonly certificates: readonly X509Certificate[];
  readonly rootsPem: string;
  /** `sha256:<hex>` of each root. */
  readonly pins: readonly string[];
  /** {@link rootIdOf} of the root that leaves chain to from now on. */
  readonly issuingRoot: string;
}

/** The current bundle and its changes. */
export interface TrustState {
  current(): TrustBundle;
  /** Calls `run` after each change. Returns the unsubscriber. */
  onChange(run: (bundle: TrustBundle) => void): () => void;
  /** Swaps in new roots (DER, at least one), and which of them signs; default the first. */
  replace(roots: readonly Buffer[], issuing?: Buffer): void;
}

/** Begins with `roots` (DER, at least one); `issuing` signs, default the first. */
export function createTrustState(roots: readonly Buffer[], issuing?: Buffer): TrustState {
  const watchers = new Set<(bundle: TrustBundle) => void>();
  let current = bundleOf(1, roots, issuing);
  return {
    current: () => current,
    onChange(run) {
      watchers.add(run);
      return () => void watchers.delete(run);
    },
    replace(next, nextIssuing) {
      current = bundleOf(current.version + 1, next, nextIssuing);
      for (const run of watchers) run(current);
    },
  };
}

function bundleOf(version: number, roots: readonly Buffer[], issuing = roots[0]): TrustBundle {
  if (issuing === undefined) throw new RangeError("a trust bundle needs a root");
  return {
    version,
    roots,
    certificates: roots.map((root) => new X509Certificate(root)),
    rootsPem: roots.map((root) => toPem(root, "CERTIFICATE")).join(""),
    pins: roots.map(formatPin),
    issuingRoot: rootIdOf(new X509Certificate(issuing)),
  };
}

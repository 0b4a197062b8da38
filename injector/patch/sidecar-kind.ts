// Native or legacy: whether the sidecar is an init container that keeps running, or a plain first container. Native is better in every way (it serves the
// other init containers, ends last, and lets Jobs complete) but the kubelet has to know it: since 1.28 behind a gate, since 1.29 by default, for good
// since 1.33 (KEP-753). An older one would wait for ever for it to end.
import type { SidecarKind } from "./marker.ts";

/** The first minor version of Kubernetes 1 whose kubelets run native sidecars by default. */
export const NATIVE_SINCE_MINOR = 29;

/** The choice, and a sentence without a full stop that says why. */
export interface KindChoice {
  readonly kind: SidecarKind;
  readonly why: string;
  /** Said to who asked for what the nodes cannot do. */
  readonly warning: string | null;
}

/** Chooses. `annotated` is the value of `remora.io/native-sidecar`, null without it; `usual` the installation's setting. */
export function chooseKind(annotated: boolean | null, usual: boolean, oldestKubelet: string | null): KindChoice {
  const isTooOld = oldestKubelet !== null && !runsNative(oldestKubelet);
  if (annotated !== null) {
    const warning =
      annotated && isTooOld
        ? `a kubelet of ${oldestKubelet} may wait for ever for a native sidecar to end; they run since 1.${NATIVE_SINCE_MINOR}`
        : null;
    return { kind: annotated ? "native" : "legacy", why: `annotation remora.io/native-sidecar is ${annotated}`, warning };
  }
  if (!usual) return { kind: "legacy", why: "the installation asks for plain containers", warning: null };
  if (isTooOld)
    return {
      kind: "legacy",
      why: `the oldest kubelet is ${oldestKubelet}, native sidecars run since 1.${NATIVE_SINCE_MINOR}`,
      warning: null,
    };
  return {
    kind: "native",
    why: oldestKubelet === null ? "native is the default" : `the oldest kubelet is ${oldestKubelet}`,
    warning: null,
  };
}

/** True for 1.29 and later. What is no version counts as new: distributions write odd ones, and all supported kubelets are new enough. */
function runsNative(version: string): boolean {
  const match = /^v?([0-9]+)\.([0-9]+)/.exec(version);
  if (match === null) return true;
  const [major, minor] = [Number(match[1]), Number(match[2])];
  return major > 1 || (major === 1 && minor >= NATIVE_SINCE_MINOR);
}

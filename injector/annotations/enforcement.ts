// What a workload may not weaken: the platform's bounds (`enforced` in platform.ts) held against single values. Every refusal is one sentence that
// names the annotation, its value, and what the platform allows.
import { ANNOTATION_PREFIX, type AnnotationName, type AnnotationValues, shorten } from "./annotations.ts";
import { nearestName } from "../../core/nearest.ts";
import { matchesPattern } from "../platform/pattern.ts";
import { type Enforced, PLATFORM_CONFIG_MAP, type Platform, SIGNATURE_STRENGTH, type SignatureMode } from "../platform/platform.ts";

/** How strong a mode is: more is stronger. */
const MODE_STRENGTH = ["permissive", "strict"] as const;

/**
 * Why the platform does not take `values[name]`, written as `text`; null when it does. A sentence without a full stop.
 */
export function objectionTo(name: AnnotationName, values: AnnotationValues, text: string, platform: Platform): string | null {
  const bound = boundOf(name, values, platform);
  return bound === null
    ? null
    : `annotation ${ANNOTATION_PREFIX}${name}: ${shorten(text)} is not what the platform allows: ${bound.says} (${bound.rule} in ConfigMap ${PLATFORM_CONFIG_MAP})`;
}

/**
 * Why the platform does not know the channel that is asked for; null when it does. For who writes the name: pods are not refused for it, because the
 * platform may drop a channel that running workloads still name.
 */
export function unknownChannel({ channel }: AnnotationValues, { channels }: Platform): string | null {
  if (channel === undefined || channels.size === 0 || channels.has(channel)) return null;
  const nearest = nearestName(channel, channels.keys());
  const known = [...channels.keys()].join(", ");
  const hint = nearest === null ? "" : `; did you mean ${nearest}?`;
  return `annotation ${ANNOTATION_PREFIX}channel: ${shorten(channel)} is no channel of the platform, which has ${known}${hint}`;
}

/** The values that hold where neither pod nor namespace gives any, because the built-in default could be weaker. */
export function enforcedValues({ enforced }: Platform): AnnotationValues {
  const { minimumMode, minimumSigning, minimumVerify, capture, egress } = enforced;
  return {
    // The weakest of all needs no saying.
    ...(minimumMode === "strict" ? { mode: minimumMode } : {}),
    ...(minimumSigning === null || minimumSigning === "mtls" ? {} : { signing: minimumSigning }),
    ...(minimumVerify === null || minimumVerify === "mtls" ? {} : { verify: minimumVerify }),
    ...(capture === null ? {} : { capture }),
    ...(egress === null ? {} : { egress }),
  };
}

/** False where the platform does not let workloads of the namespace opt out of the mesh, nor the namespace itself. */
export function mayOptOut(platform: Platform, namespace: string): boolean {
  const { forbiddenIn, allowedIn } = platform.enforced.optOut;
  const fits = (pattern: string) => matchesPattern(pattern, namespace);
  return !forbiddenIn.some(fits) || allowedIn.some(fits);
}

/** A rule of the platform's file, and what it says. */
interface Bound {
  readonly rule: string;
  readonly says: string;
}

function boundOf(name: AnnotationName, values: AnnotationValues, platform: Platform): Bound | null {
  const { enforced } = platform;
  if (enforced.forbiddenAnnotations.has(name)) return { rule: "enforced.forbiddenAnnotations", says: "nobody may set it" };
  switch (name) {
    case "mode":
      return atLeast("enforced.minimumMode", MODE_STRENGTH, values.mode, enforced.minimumMode);
    case "signing":
      return atLeast<SignatureMode>("enforced.minimumSigning", SIGNATURE_STRENGTH, values.signing, enforced.minimumSigning);
    case "verify":
      return atLeast<SignatureMode>("enforced.minimumVerify", SIGNATURE_STRENGTH, values.verify, enforced.minimumVerify);
    case "capture":
      // What is automatic becomes what is enforced.
      return enforced.capture === null || values.capture === "auto" || values.capture === enforced.capture
        ? null
        : { rule: "enforced.capture", says: `only ${enforced.capture}` };
    case "egress":
      return enforced.egress === null || values.egress === "deny" ? null : { rule: "enforced.egress", says: "only deny" };
    case "image":
      return imageBound(values.image ?? "", enforced);
    case "skip-inbound-ports":
      return enforced.minimumMode === "strict"
        ? { rule: "enforced.minimumMode", says: "every caller passes the sidecar where strict is the least" }
        : null;
    case "skip-outbound-ports":
    case "skip-outbound-cidrs":
      return enforced.egress === null
        ? null
        : { rule: "enforced.egress", says: "no connection goes around the sidecar where egress is denied" };
    default:
      return null;
  }
}

/** `order` goes from weakest to strongest. */
function atLeast<Word extends string>(rule: string, order: readonly Word[], value: Word | undefined, least: Word | null): Bound | null {
  if (least === null || value === undefined || order.indexOf(value) >= order.indexOf(least)) return null;
  return { rule, says: `${order.slice(order.indexOf(least)).join(" or ")}` };
}

function imageBound(image: string, { images }: Enforced): Bound | null {
  if (images === null || images.some((pattern) => matchesPattern(pattern, image))) return null;
  return { rule: "enforced.images", says: images.length === 0 ? "no image but its own" : `images like ${images.join(", ")}` };
}

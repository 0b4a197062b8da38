// Who may call the control plane at all (design 8): every method needs a verified identity of this mesh but those that are named open, and no identity may take
// more than its share, so that one that is noisy or broken does no harm to the others. The server asks before a handler sees the call, so a method that is added
// later is guarded too.
import { status } from "@grpc/grpc-js";
import type { Audit } from "../core/audit/audit.ts";
import { CertError } from "../core/errors.ts";
import type { Metrics } from "../core/metrics.ts";
import { clientIdentity, peerCertificate } from "../core/peer-certificate.ts";
import type { CallerShare, CallLimits } from "../core/policy/caller-limits.ts";
import type { SpiffeId } from "../core/spiffe.ts";
import type { JudgedAt } from "../core/x509/judged-at.ts";
import type { CallMeter, ServerCall } from "./call.ts";

/** Names and values of a call's metadata, as HPACK counts them; gRPC's own recommendation. */
const MAX_METADATA_BYTES = 8 * 1024;

/** What {@link createAdmission} needs. */
export interface AdmissionOptions {
  readonly trustDomain: string;
  /** Paths of methods that may be called without an identity, as `/remora.v1.Identity/Certify`. */
  readonly open: readonly string[];
  readonly limits: CallLimits;
  readonly judgedAt: JudgedAt;
  readonly metrics: Metrics;
  readonly audit: Audit;
}

/** The guard of a server. */
export interface Admission {
  /** True: the handler may have the call. False: it was answered. `metadataBytes` is the size of its head. */
  admit(call: ServerCall, metadataBytes: number): boolean;
}

/** What a call is refused with. */
interface Refusal {
  readonly code: status;
  readonly reason:
    | "unauthenticated"
    | "metadata_too_large"
    | "message_too_large"
    | "too_many_streams"
    | "too_many_calls"
    | "too_many_messages";
  readonly details: string;
}

export function createAdmission(options: AdmissionOptions): Admission {
  const { trustDomain, judgedAt, limits, audit } = options;
  const open = new Set(options.open);
  const refused = options.metrics.counter({
    name: "remora_calls_refused_total",
    help: "Calls of the control plane's gRPC port that were refused before their method saw them, or ended because they or their identity took too much.",
    labels: ["method", "reason"],
  });
  /** One for all calls of an identity: tens of thousands of calls are open. */
  const meters = new WeakMap<CallerShare, CallMeter>();
  const anonymous = createMeter(null, null);

  function refuse(call: ServerCall, identity: SpiffeId | null, { code, reason, details }: Refusal): false {
    const method = call.path.slice(call.path.lastIndexOf(".") + 1);
    refused.inc({ method, reason });
    audit.record("call.refused", { method, reason, detail: details, identity, peer: call.getPeer() });
    call.finish({ code, details });
    return false;
  }

  function callerOf(call: ServerCall): SpiffeId | Refusal | null {
    const certificate = peerCertificate(call);
    if (certificate === null) return null;
    try {
      return clientIdentity(certificate, { trustDomain, nowMs: judgedAt(certificate) });
    } catch (error) {
      if (!(error instanceof CertError)) throw error;
      return unauthenticated(`the client certificate is refused: ${error.message}`);
    }
  }

  function createMeter(identity: SpiffeId | null, share: CallerShare | null): CallMeter {
    return {
      takeMessage(call) {
        if (share === null || share.takeMessage()) return true;
        const details = `${identity} sends more than ${limits.identities.messagesPerSecond} messages a second`;
        return refuse(call, identity, { code: status.RESOURCE_EXHAUSTED, reason: "too_many_messages", details });
      },
      onTooLarge(call, details) {
        refuse(call, identity, { code: status.RESOURCE_EXHAUSTED, reason: "message_too_large", details });
      },
    };
  }

  function meterOf(identity: SpiffeId, share: CallerShare): CallMeter {
    const known = meters.get(share) ?? createMeter(identity, share);
    meters.set(share, known);
    return known;
  }

  return {
    admit(call, metadataBytes) {
      if (metadataBytes > MAX_METADATA_BYTES) {
        const details = `the call has ${metadataBytes} bytes of metadata, at most ${MAX_METADATA_BYTES} are read`;
        return refuse(call, null, { code: status.RESOURCE_EXHAUSTED, reason: "metadata_too_large", details });
      }
      const caller = callerOf(call);
      if (typeof caller !== "string") {
        // An open method looks at a certificate itself: one that is no good may come with another credential.
        if (!open.has(call.path)) return refuse(call, null, caller ?? unauthenticated("a client certificate of this mesh is needed"));
        const over = limits.addresses.of(call.peer.address).takeCall();
        if (over !== null) return refuse(call, null, { code: status.RESOURCE_EXHAUSTED, ...over });
        call.meter = anonymous;
        return true;
      }
      const share = limits.identities.of(caller);
      const over = call.isStream ? share.open() : share.takeCall();
      if (over !== null) return refuse(call, caller, { code: status.RESOURCE_EXHAUSTED, ...over });
      call.meter = meterOf(caller, share);
      if (call.isStream) call.on("close", share.close);
      return true;
    },
  };
}

function unauthenticated(details: string): Refusal {
  return { code: status.UNAUTHENTICATED, reason: "unauthenticated", details };
}

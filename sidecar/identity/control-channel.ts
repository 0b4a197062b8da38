// Channels to the control plane: TLS 1.3 with our roots, and the server must be the control plane's own identity, not just anybody of the
// mesh. The control plane has no DNS name in its certificate, so the check of names is replaced, not skipped.
import { X509Certificate } from "node:crypto";
import { createSecureContext } from "node:tls";
import { credentials as grpcCredentials } from "@grpc/grpc-js";
import type { Clock } from "../../core/clock.ts";
import { CertError } from "../../core/errors.ts";
import type { SpiffeId } from "../../core/spiffe.ts";
import { spiffeId } from "../../core/spiffe.ts";
import { checkPeerCertificate } from "../../core/x509/peer-check.ts";
import type { ControlChannel } from "./identity-source.ts";

export const CONTROL_SERVICE_ACCOUNT = "remora-control";
/** A silent peer is noticed after this long (ping) and as long again (answer). */
const KEEPALIVE_MS = 20_000;

/** The control plane as we expect to meet it. */
export interface ControlPlane {
  /** `host:port` */
  readonly address: string;
  readonly trustDomain: string;
  /** Its namespace, `remora-system` by default. */
  readonly namespace: string;
  readonly clock: Clock;
}

/** What the caller shows, and what it trusts. */
export interface ChannelTrust {
  readonly rootsPem: string;
  /** Null: no client certificate yet. */
  readonly own: { readonly certificateChainPem: string; readonly privateKeyPem: string } | null;
}

/** The identity that the control plane's certificate must carry. */
export function controlIdentity(control: Pick<ControlPlane, "trustDomain" | "namespace">): SpiffeId {
  return spiffeId({ trustDomain: control.trustDomain, namespace: control.namespace, serviceAccount: CONTROL_SERVICE_ACCOUNT });
}

/** The SNI that the sidecar sends to the control plane. An IP address must not stand there (RFC 6066 section 3). */
export function controlServerName(control: Pick<ControlPlane, "trustDomain" | "namespace">): string {
  return `${CONTROL_SERVICE_ACCOUNT}.${control.namespace}.sa.${control.trustDomain}`;
}

export function createControlChannel(control: ControlPlane, trust: ChannelTrust): ControlChannel {
  const { own, rootsPem } = trust;
  const context = createSecureContext({
    ca: rootsPem,
    minVersion: "TLSv1.3",
    ...(own === null ? {} : { cert: own.certificateChainPem, key: own.privateKeyPem }),
  });
  return {
    address: control.address,
    credentials: grpcCredentials.createFromSecureContext(context, {
      checkServerIdentity: (_name, peer) => checkControlPlane(control, new X509Certificate(peer.raw)),
    }),
    options: {
      "grpc.ssl_target_name_override": controlServerName(control),
      "grpc.keepalive_time_ms": KEEPALIVE_MS,
      "grpc.keepalive_timeout_ms": KEEPALIVE_MS,
      // The global pool would keep a connection of an older generation alive for a newer one.
      "grpc.use_local_subchannel_pool": 1,
    },
  };
}

/** Undefined when `certificate` is the control plane's, else why not. The chain's trust is checked by TLS. */
export function checkControlPlane(control: Omit<ControlPlane, "address">, certificate: X509Certificate): Error | undefined {
  const expected = controlIdentity(control);
  try {
    const found = checkPeerCertificate(certificate, { trustDomain: control.trustDomain, usage: "server", nowMs: control.clock.nowMs() });
    if (found !== expected)
      return new CertError("identity_mismatch", `the control plane's address answers as ${found}, expected ${expected}`);
    return undefined;
  } catch (error) {
    return error as Error; // checkPeerCertificate throws CertError only
  }
}

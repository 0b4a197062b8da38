// The first meeting with the control plane, when nothing is trusted yet but a pin: connect without verification, look at the chain, keep
// the root that the pin names. Nothing is sent on this connection; everything after it is verified with the root it gave (design 7).
import type { X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import { connect } from "node:tls";
import { CertError } from "../../core/errors.ts";
import { findRoot } from "../../core/x509/chain.ts";
import { toPem } from "../../core/x509/pem.ts";
import { formatPin, matchesPin } from "../../core/x509/pin.ts";
import { sentCertificates } from "../../core/x509/verify-peer.ts";
import type { ControlPlane } from "./control-channel.ts";
import { checkControlPlane, controlServerName } from "./control-channel.ts";

const HANDSHAKE_TIMEOUT_MS = 5000;

/** The root that one of `pins` (64 hex digits) names, PEM. Throws `CertError`: `unavailable` (cannot connect), `untrusted` (no pin matches). */
export async function bootstrapTrust(control: ControlPlane, pins: readonly string[]): Promise<string> {
  if (pins.length === 0)
    throw new CertError("untrusted", "there is no way to know the mesh: neither a trust pin (REMORA_TRUST_PIN) nor a join token is given");
  const chain = await readChain(control);
  const wanted = pins.map((pin) => Buffer.from(pin, "hex"));
  const root = chain.find((certificate) => matchesPin(certificate.raw, wanted));
  const [leaf, last] = [chain[0], chain.at(-1)];
  if (leaf === undefined || last === undefined) throw new CertError("untrusted", `${control.address} sent no certificate`);
  if (root === undefined) {
    throw new CertError("untrusted", `${control.address} is not of the pinned mesh: its chain ends at ${formatPin(last.raw)}`, {
      fields: { found: formatPin(last.raw) },
    });
  }
  const { trustDomain } = control;
  if (findRoot(leaf, { issuers: chain.slice(1), roots: [root], trustDomain, nowMs: control.clock.nowMs() }) === null) {
    throw new CertError("untrusted", `${control.address} shows the pinned root, but its certificate is not signed by it`);
  }
  const refusal = checkControlPlane(control, leaf);
  if (refusal !== undefined) throw refusal;
  return toPem(root.raw, "CERTIFICATE");
}

function readChain(control: ControlPlane): Promise<readonly X509Certificate[]> {
  const { host, port } = splitAddress(control.address);
  return new Promise((resolve, reject) => {
    const socket: TLSSocket = connect(
      { host, port, servername: controlServerName(control), ALPNProtocols: ["h2"], minVersion: "TLSv1.3", rejectUnauthorized: false },
      () => {
        resolve(sentCertificates(socket));
        // Not destroyed: the server is still finishing its side of the handshake. The timeout below clears a peer that never closes.
        socket.end();
        socket.resume();
      },
    );
    const fail = (why: string, cause?: Error) => {
      socket.destroy();
      reject(
        new CertError("unavailable", `cannot reach the control plane at ${control.address}: ${why}`, cause === undefined ? {} : { cause }),
      );
    };
    socket.setTimeout(HANDSHAKE_TIMEOUT_MS, () => fail(`no TLS handshake within ${HANDSHAKE_TIMEOUT_MS / 1000} s`));
    socket.on("error", (error) => fail(error.message, error));
    // After a resolve this changes nothing; before one the peer hung up without an error.
    socket.on("close", () => fail("the connection was closed during the handshake"));
  });
}

/** `host:port` or `[v6]:port`. */
function splitAddress(address: string): { readonly host: string; readonly port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:\s]+)):([0-9]{1,5})$/.exec(address);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || !(port >= 1 && port <= 65535))
    throw new CertError("malformed", `not an address of the form HOST:PORT: ${address.slice(0, 200)}`);
  return { host, port };
}

// The certificate of the control plane's gRPC port. With the CA in this process it signs its own; without, it is certified like any workload, with
// the service-account token of its pod.
import { readFile } from "node:fs/promises";
import type { CertificateAuthority } from "../../../certs/certificate-authority.ts";
import { ConfigError } from "../../../core/errors.ts";
import { spiffeId } from "../../../core/spiffe.ts";
import { CONTROL_SERVICE_ACCOUNT, type RoleSurroundings } from "./role.ts";

/** What `startGrpcServer` takes. */
export interface ServerIdentity {
  tls(): { readonly key: string; readonly cert: string; readonly ca: string };
  onTlsChange(run: () => void): () => void;
  close(): Promise<void>;
}

/** Makes or asks for the certificate; it stays fresh until `close`. */
export async function startServerIdentity(
  options: RoleSurroundings & { readonly ca: CertificateAuthority | null },
): Promise<ServerIdentity> {
  const { ca, config } = options;
  const identity = spiffeId({
    trustDomain: config.trustDomain,
    namespace: config.controlNamespace,
    serviceAccount: CONTROL_SERVICE_ACCOUNT,
  });
  if (ca !== null) {
    const credentials = ca.issueServerCredentials(identity);
    return { tls: credentials.tls, onTlsChange: credentials.onTlsChange, close: () => Promise.resolve(credentials.close()) };
  }
  const { controlAddress } = config;
  if (controlAddress === null) throw new ConfigError("invalid_settings", "REMORA_CONTROL_ADDRESS is needed where the CA does not run");
  const { startIdentity } = await import("../../../sidecar/identity/start-identity.ts");
  const source = await startIdentity({
    controlAddress,
    controlNamespace: config.controlNamespace,
    identity,
    credential: async () =>
      config.joinToken === null
        ? { serviceAccountToken: (await readFile(config.tokenFile, "utf8")).trim() }
        : { joinToken: config.joinToken.reveal() },
    pins: [...config.trustPin],
    stateDir: config.stateDir,
    clock: options.clock,
    random: options.random,
    log: options.log,
    metrics: options.metrics,
  });
  return {
    tls() {
      const { privateKeyPem, certificateChainPem, rootsPem } = source.current();
      return { key: privateKeyPem, cert: certificateChainPem + rootsPem, ca: rootsPem };
    },
    onTlsChange: (run) => source.onChange(() => run()),
    close: async () => source.close(),
  };
}

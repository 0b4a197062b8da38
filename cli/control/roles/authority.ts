// The role `ca`: where its root comes from in Kubernetes and on a laptop.
import { randomBytes } from "node:crypto";
import type { Route } from "../../../core/admin-server.ts";
import { type CertificateAuthority, startCertificateAuthority } from "../../../certs/certificate-authority.ts";
import type { Checks, RoleSurroundings } from "./role.ts";

/** In Kubernetes nothing of value is kept here: the root is a Secret. An emptyDir is mounted on it. */
const STATE_DIR_IN_KUBERNETES = "/var/run/remora";

/** The running role. */
export interface AuthorityRole {
  readonly authority: CertificateAuthority;
  readonly checks: Checks;
  readonly routes: readonly Route[];
  close(): Promise<void>;
}

/** Opens the root and starts the CA. @throws CertError naming the file or Secret */
export async function startAuthorityRole({ config, clock, judgedAt, log, metrics, audit }: RoleSurroundings): Promise<AuthorityRole> {
  const kubernetes = config.inKubernetes ? await (await import("../../../certs/kubernetes.ts")).connectKubernetes() : null;
  const authority = await startCertificateAuthority({
    trustDomain: config.trustDomain,
    stateDir: config.stateDir ?? STATE_DIR_IN_KUBERNETES,
    controlNamespace: config.controlNamespace,
    given:
      config.caCertFile === null || config.caKeyFile === null
        ? null
        : { certificateFile: config.caCertFile, keyFile: config.caKeyFile, rootFile: config.caRootFile },
    kubernetes,
    leafTtlMs: config.leafTtl,
    clock,
    judgedAt,
    random: (bytes) => randomBytes(bytes),
    log,
    metrics,
    audit,
  });
  return {
    authority,
    checks: { ca: () => authority.health() },
    // Names, times and ids: nothing that certificates do not say to everybody they are shown to.
    routes: [{ method: "GET", path: "/api/v1/ca", handle: () => ({ status: 200, body: authority.status() }) }],
    close: () => authority.close(),
  };
}

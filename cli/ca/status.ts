// `remora ca status`: what is kept, what every replica has in use, and whose certificates hang on it.
import type { AuthorityStatus, CertificateStatus } from "../../certs/authority-status.ts";
import type { GuardFacts, LiveLeaf } from "../../certs/rotation-guard.ts";
import { formatDuration } from "../../core/duration.ts";
import type { MeshFlags } from "../ca-command.ts";
import { connectCa } from "./mesh.ts";

/** What the steps mean, for people. */
const STEPS: Readonly<Record<AuthorityStatus["step"], string>> = {
  steady: "none is under way",
  added: "the next root is trusted, the old one signs; next: remora ca rotate issue",
  issuing: "the new root signs, the old one is still trusted; next: remora ca rotate remove",
};

/** Prints it. */
export async function showStatus(flags: MeshFlags): Promise<number> {
  const facts = await (await connectCa(flags)).read();
  const { kept, replicas, leaves } = facts;
  const roots = kept.roots.map((root) => ({ ...root, ...countLeaves(root.id, leaves) }));
  if (flags.output === "json") {
    const { roots: _roots, ...rest } = kept;
    process.stdout.write(
      `${JSON.stringify({ ...rest, roots, replicas, leaves: leaves.length, unproven: unproven(leaves).length }, null, 2)}\n`,
    );
  } else process.stdout.write(`${formatStatus(facts)}\n`);
  return 0;
}

/** The text of a status. */
export function formatStatus({ kept, replicas, leaves }: GuardFacts): string {
  const leafTtlMs = replicas.map(({ status }) => status?.leafTtlMs ?? null).find((ttl) => ttl !== null) ?? null;
  const since = kept.sinceMs === 0 || kept.step === "steady" ? "" : ` since ${new Date(kept.sinceMs).toISOString()}`;
  const silent = unproven(leaves).length;
  return [
    `CA: ${kept.place}, trust domain ${kept.trustDomain}${leafTtlMs === null ? "" : `, leaves live ${formatDuration(leafTtlMs)}`}`,
    `rotation: ${kept.step}${since}: ${STEPS[kept.step]}`,
    "",
    ...table([
      ["ROOT", "ROLE", "LEAVES", "TRUSTED BY", "VALID UNTIL", "KEY", "KEY ID", "NAME"],
      ...kept.roots.map((root) => {
        const { leaves: issued, trustedBy } = countLeaves(root.id, leaves);
        return [root.id, root.role, String(issued), String(trustedBy), root.notAfter, root.key, root.keyId.slice(0, 16), root.subject];
      }),
    ]),
    ...(kept.issuers.length === 0
      ? []
      : ["", ...table([["ISSUER", "VALID FROM", "VALID UNTIL", "KEY", "KEY ID", "NAME"], ...kept.issuers.map(issuerRow)])]),
    "",
    `${leaves.length} live workloads${silent === 0 ? "" : `, ${silent} of an older version that does not say which roots it trusts`}`,
    ...replicas.map(({ name, status, problem }) => `${name}: ${problem ?? describeReplica(status)}`),
    ...(replicas.length === 0 ? ["no control plane is running here: this is what is kept"] : []),
  ].join("\n");
}

function issuerRow({ id, notBefore, notAfter, key, keyId, subject }: CertificateStatus): readonly string[] {
  return [id, notBefore, notAfter, key, keyId.slice(0, 16), subject];
}

function describeReplica(status: AuthorityStatus | null): string {
  if (status === null) return "runs no CA";
  const signs = status.roots.find(({ role }) => role === "signs")?.id ?? "?";
  const trouble = status.trouble === null ? "" : `, DEGRADED since ${status.trouble.since}: ${status.trouble.message}`;
  return `${status.step}, root ${signs} signs, ${status.roots.length} trusted${trouble}`;
}

function countLeaves(id: string, leaves: readonly LiveLeaf[]): { readonly leaves: number; readonly trustedBy: number } {
  return {
    leaves: leaves.filter(({ issuedByRoot }) => issuedByRoot === id).length,
    trustedBy: leaves.filter(({ trustedRoots }) => trustedRoots.includes(id)).length,
  };
}

function unproven(leaves: readonly LiveLeaf[]): readonly LiveLeaf[] {
  return leaves.filter(({ certExpiresAtMs, trustedRoots }) => certExpiresAtMs > 0 && trustedRoots.length === 0);
}

function table(rows: readonly (readonly string[])[]): readonly string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}

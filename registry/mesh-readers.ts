// Who may read the whole mesh over REST (design 8: nobody receives it by itself): whoever is on this machine or in this pod (`kubectl port-forward` ends there), holds
// the token of the settings, or proves an identity that is named. Everybody else is refused, and the audit trail hears of it.
import { type AdminRequest, type AdminResponse, isLocal, type Route } from "../core/admin-routes.ts";
import type { Audit } from "../core/audit/audit.ts";
import { CertError } from "../core/errors.ts";
import { type AccessList, isListed } from "../core/policy/access-list.ts";
import type { CallLimits } from "../core/policy/caller-limits.ts";
import type { Secret } from "../core/secret.ts";
import type { SpiffeId } from "../core/spiffe.ts";
import type { RegistryMetrics } from "./registry-metrics.ts";

/** The API server's proxy takes `Authorization` for itself, so a credential may come by this name as well. */
export const READ_TOKEN_HEADER = "x-remora-token";
const MAX_TOKEN_LENGTH = 16 * 1024;

const STATUS = { unauthenticated: 401, forbidden: 403, rate_limited: 429 } as const;

/** The roles. */
export interface MeshReaders {
  /** Identities; `everyone`: no credential is asked for. */
  readonly readers: AccessList;
  /** Null: no token is taken. */
  readonly token: Secret | null;
}

/** What the guard needs besides. */
export interface MeshReadersParts extends MeshReaders {
  /** Proves an identity; null: only the token and this machine remain. */
  readonly authenticate: ((credential: string) => Promise<SpiffeId>) | null;
  /** How many credentials one address may have looked at; null: any number. */
  readonly limits: CallLimits | null;
  readonly metrics: RegistryMetrics;
  readonly audit: Audit;
}

/** `route` behind the guard. */
export function forReaders(route: Route, parts: MeshReadersParts): Route {
  const { readers, token, authenticate, limits, metrics, audit } = parts;

  /** Null: it may. */
  async function refusalOf(
    request: AdminRequest,
  ): Promise<{ readonly reason: "unauthenticated" | "forbidden" | "rate_limited"; readonly why: string } | null> {
    if (readers === "everyone" || isLocal(request)) return null;
    const given = credentialOf(request);
    if (given === null) return { reason: "unauthenticated", why: ASKED };
    if (token?.equals(given)) return null;
    const over = limits?.addresses.of(request.remoteAddress).takeCall() ?? null;
    if (over !== null) return { reason: "rate_limited", why: over.details };
    const identity = await identityOf(given);
    if (identity === null) return { reason: "unauthenticated", why: `the credential proves nothing here; ${ASKED}` };
    return isListed(readers, identity) ? null : { reason: "forbidden", why: `${identity} is not among REMORA_MESH_READERS` };
  }

  async function identityOf(credential: string): Promise<SpiffeId | null> {
    if (authenticate === null) return null;
    return authenticate(credential).catch((error: unknown) => {
      if (error instanceof CertError) return null;
      throw error;
    });
  }

  return {
    ...route,
    async handle(request): Promise<AdminResponse> {
      const refusal = await refusalOf(request);
      if (refusal === null) return route.handle(request);
      const { reason, why } = refusal;
      metrics.refused.inc({ reason });
      audit.record("read.refused", { reason, detail: why, path: request.path, peer: request.remoteAddress, identity: null });
      const headers = reason === "unauthenticated" ? { "www-authenticate": 'Bearer realm="remora"' } : {};
      return { status: STATUS[reason], headers, body: { error: reason, message: why } };
    },
  };
}

const ASKED = `reading the whole mesh needs a credential in Authorization: Bearer or ${READ_TOKEN_HEADER}, or a connection from this machine (kubectl port-forward)`;

function credentialOf({ headers }: AdminRequest): string | null {
  const own = headers[READ_TOKEN_HEADER];
  const given = typeof own === "string" ? own : /^bearer +(\S+) *$/i.exec(headers.authorization ?? "")?.[1];
  return given === undefined || given === "" || given.length > MAX_TOKEN_LENGTH ? null : given;
}

// Identities (design 1) and the SNI form of "this port of that identity" (design 6). Parse once at the edge; the brand is the proof.
import { CertError } from "./errors.ts";

/** `spiffe://<trust-domain>/ns/<namespace>/sa/<service-account>`, already checked. */
export type SpiffeId = string & { readonly __brand: "SpiffeId" };

/** The parts of a {@link SpiffeId}. */
export interface SpiffeParts {
  /** Lower case DNS name, at most 255 characters. */
  readonly trustDomain: string;
  /** DNS label, at most 63 characters. */
  readonly namespace: string;
  /** DNS subdomain, at most 253 characters. */
  readonly serviceAccount: string;
}

const LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
const NAME = `${LABEL}(?:\\.${LABEL})*`;
const ID = new RegExp(`^spiffe://(${NAME})/ns/(${LABEL})/sa/(${NAME})$`);
const SNI = new RegExp(`^p([1-9][0-9]{0,4})\\.(${NAME})\\.(${LABEL})\\.sa\\.(${NAME})$`);
const MAX_ID_LENGTH = 2048;
/** OpenSSL's bound (TLSEXT_MAXLEN_host_name). */
const MAX_SNI_LENGTH = 255;

/** Makes an identity from its parts; throws `CertError("malformed")` when a part is not a DNS name. */
export function spiffeId(parts: SpiffeParts): SpiffeId {
  return parseSpiffeId(`spiffe://${parts.trustDomain}/ns/${parts.namespace}/sa/${parts.serviceAccount}`);
}

/** Checks `text`; throws `CertError("malformed")` naming the value. */
export function parseSpiffeId(text: string): SpiffeId {
  if (text.length > MAX_ID_LENGTH || !ID.test(text)) {
    throw new CertError(
      "malformed",
      `not a workload identity (spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT): ${text.slice(0, 200)}`,
    );
  }
  return text as SpiffeId;
}

/** Identities taken apart already: every heartbeat asks again. At the bound all are forgotten. */
const taken = new Map<SpiffeId, SpiffeParts>();
const MAX_TAKEN = 10_000;

/** Takes an identity apart. */
export function spiffeParts(id: SpiffeId): SpiffeParts {
  const known = taken.get(id);
  if (known !== undefined) return known;
  const parts = partsOf(id);
  if (taken.size >= MAX_TAKEN) taken.clear();
  taken.set(id, parts);
  return parts;
}

function partsOf(id: SpiffeId): SpiffeParts {
  const match = ID.exec(id);
  if (match === null) throw new CertError("malformed", `not a workload identity: ${id}`);
  const [, trustDomain, namespace, serviceAccount] = match as unknown as [string, string, string, string];
  return Object.freeze({ trustDomain, namespace, serviceAccount });
}

/** The server name that asks for `port` (1..65535) of `id`: `p<port>.<sa>.<ns>.sa.<trust-domain>`. */
export function sniFor(id: SpiffeId, port: number): string {
  const { trustDomain, namespace, serviceAccount } = spiffeParts(id);
  return `p${port}.${serviceAccount}.${namespace}.sa.${trustDomain}`;
}

/** Reads a server name made by {@link sniFor} for `trustDomain`; null when it is not one. */
export function parseSni(name: string, trustDomain: string): { readonly id: SpiffeId; readonly port: number } | null {
  const suffix = `.sa.${trustDomain}`;
  if (name.length > MAX_SNI_LENGTH || !name.endsWith(suffix)) return null;
  const match = SNI.exec(name);
  if (match === null) return null;
  const port = Number(match[1]);
  const owner = name.slice(name.indexOf(".") + 1, -suffix.length);
  const lastDot = owner.lastIndexOf(".");
  if (port > 65535 || lastDot < 1) return null;
  return { id: spiffeId({ trustDomain, namespace: owner.slice(lastDot + 1), serviceAccount: owner.slice(0, lastDot) }), port };
}

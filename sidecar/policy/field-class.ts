// Which kind of field a header name is, for `header-hygiene.ts`. Names may come in any case (h1) and in the mesh's own family `_` counts as `-`: CGI
// and WSGI apps read `X_Remora_Client_Id` and `x-remora-client-id` as the same variable, so that the first must not slip past.
//
// HOT PATH: a switch on the length, then at most two comparisons of equal length; most names are decided by their length.
import { lowerCode, sameName } from "../../core/field-name.ts";

/** Kinds as bits, so that a set of kinds is one number. 0 is an ordinary field. */
export const FIELD = {
  ordinary: 0,
  /** `connection` itself. */
  connection: 1,
  /** Between two neighbours: `keep-alive`, `proxy-connection`, `proxy-authenticate`, `proxy-authorization`, `http2-settings`. */
  hopByHop: 2,
  te: 4,
  /** `x-remora-*` except `x-remora-client-id`. */
  mesh: 8,
  /** `x-forwarded-client-cert`, `x-remora-client-id`. */
  identity: 16,
  /** `signature`, `signature-input`, `content-digest`. */
  signature: 32,
  requestId: 64,
  traceparent: 128,
} as const;

/** The kind of a name: one of the bits of {@link FIELD}, or 0. */
export function classOf(name: string): number {
  switch (name.length) {
    case 2:
      return sameName(name, "te") ? FIELD.te : remoraClass(name);
    case 9:
      return sameName(name, "signature") ? FIELD.signature : remoraClass(name);
    case 10:
      if (sameName(name, "connection")) return FIELD.connection;
      return sameName(name, "keep-alive") ? FIELD.hopByHop : remoraClass(name);
    case 11:
      return sameName(name, "traceparent") ? FIELD.traceparent : remoraClass(name);
    case 12:
      return sameName(name, "x-request-id") ? FIELD.requestId : remoraClass(name);
    case 14:
      if (sameName(name, "content-digest")) return FIELD.signature;
      return sameName(name, "http2-settings") ? FIELD.hopByHop : remoraClass(name);
    case 15:
      return sameName(name, "signature-input") ? FIELD.signature : remoraClass(name);
    case 16:
      return sameName(name, "proxy-connection") ? FIELD.hopByHop : remoraClass(name);
    case 18:
      if (sameName(name, "proxy-authenticate")) return FIELD.hopByHop;
      return sameFamilyName(name, "x-remora-client-id") ? FIELD.identity : remoraClass(name);
    case 19:
      return sameName(name, "proxy-authorization") ? FIELD.hopByHop : remoraClass(name);
    case 23:
      return sameFamilyName(name, "x-forwarded-client-cert") ? FIELD.identity : remoraClass(name);
    default:
      return remoraClass(name);
  }
}

/** Fields that `Connection` may not take away: routing, framing, credentials, forwarding and tracing. `name` is lower case. */
export function isEssential(name: string): boolean {
  return ESSENTIAL.has(name) || name.startsWith("x-forwarded-") || name.startsWith(":");
}

const ESSENTIAL: ReadonlySet<string> = new Set([
  "host",
  "content-length",
  "content-type",
  "content-encoding",
  "content-range",
  "transfer-encoding",
  "trailer",
  "upgrade", // the engine decides on upgrades; "connection: upgrade" must not remove the field it speaks of
  "authorization",
  "cookie",
  "set-cookie",
  "cache-control",
  "vary",
  "origin",
  "forwarded",
  "x-real-ip",
  "tracestate",
]);

const REMORA_PREFIX = "x-remora-";

function remoraClass(name: string): number {
  if (name.length < REMORA_PREFIX.length || (name.charCodeAt(0) | 0x20) !== 0x78 /* x */) return FIELD.ordinary;
  return familyPrefix(name, REMORA_PREFIX) ? FIELD.mesh : FIELD.ordinary;
}

function sameFamilyName(name: string, lower: string): boolean {
  return name.length === lower.length && familyPrefix(name, lower);
}

/** Starts with `lower` but for case and with `_` standing for `-`. `name` is at least as long. */
function familyPrefix(name: string, lower: string): boolean {
  for (let index = 0; index < lower.length; index += 1) {
    const code = name.charCodeAt(index);
    if ((code === 0x5f /* _ */ ? 0x2d /* - */ : lowerCode(code)) !== lower.charCodeAt(index)) return false;
  }
  return true;
}

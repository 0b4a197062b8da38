// The forms of a request target that name their destination themselves (RFC 9112 section 3.2): `host:port` of a CONNECT, and the URI that a client sends to
// a proxy.
import { parseAuthority } from "../transport/address.ts";
import type { StrictnessRule } from "./strictness.ts";

const DEFAULT_PORT = 80;
const DEFAULT_TLS_PORT = 443;

/** Where a target leads. */
export interface Target {
  readonly authority: string;
  /** Origin form; `*` asks for the server itself, empty for a CONNECT. */
  readonly path: string;
}

/** `host:port`, both needed (RFC 9110 section 9.3.6). */
export function connectTarget(target: string): Target | StrictnessRule {
  if (target.includes("@")) return "target_userinfo";
  const asked = parseAuthority(target);
  return asked === null || asked.port === 0 ? "target_form" : { authority: target, path: "" };
}

/** `http://authority/path`: its authority stands for Host, and must be the same where there is one (RFC 9112 section 3.2.2). */
export function absoluteTarget(target: string, host: string | null, method: string): Target | StrictnessRule {
  const scheme = target.slice(0, 8).toLowerCase();
  const from = scheme.startsWith("http://") ? 7 : scheme === "https://" ? 8 : 0;
  if (from === 0) return "target_form";
  let to = from;
  while (to < target.length && target[to] !== "/" && target[to] !== "?") to += 1;
  const authority = target.slice(from, to);
  if (authority.includes("@")) return "target_userinfo";
  if (parseAuthority(authority) === null) return "target_form";
  if (host !== null && !isSameAuthority(authority, host, from === 7 ? DEFAULT_PORT : DEFAULT_TLS_PORT)) return "host_disagrees";
  const rest = target.slice(to);
  // RFC 9112 section 3.2.4: the server itself is asked for by `*`.
  if (rest === "") return { authority, path: method === "OPTIONS" ? "*" : "/" };
  return { authority, path: rest.startsWith("/") ? rest : `/${rest}` };
}

function isSameAuthority(a: string, b: string, defaultPort: number): boolean {
  const [one, other] = [parseAuthority(a), parseAuthority(b)];
  if (one === null || other === null) return false;
  return one.host === other.host && (one.port || defaultPort) === (other.port || defaultPort);
}

// The grammar of who may call a workload (annotation remora.io/allow, setting REMORA_ALLOW): `*`, or a list of `namespace/service-account`, `namespace/*` and
// whole SPIFFE ids. Owns reading the list; what it means for a caller is `sidecar/policy/access.ts`.
import { ConfigError } from "../errors.ts";
import { parseSpiffeId, type SpiffeId, spiffeParts } from "../spiffe.ts";

const LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
const WORKLOAD = new RegExp(`^(${LABEL})/(\\*|${LABEL}(?:\\.${LABEL})*)$`);

/** The forms of a list's entries, for messages. */
export const CALLER_FORMS = "NAMESPACE/SERVICE-ACCOUNT, NAMESPACE/* and spiffe:// ids";

/** One entry of a list. */
export type Caller =
  | { readonly kind: "workload"; readonly namespace: string; readonly serviceAccount: string }
  | { readonly kind: "namespace"; readonly namespace: string }
  | { readonly kind: "id"; readonly id: SpiffeId };

/** Everyone, callers without identity included; or those of a list. */
export type AccessList = "everyone" | readonly Caller[];

/**
 * Reads `*` or a list separated by commas or spaces.
 * @throws ConfigError("invalid_value") naming position (1-based column), value and what is allowed. An empty list is an error: `*` opens a workload,
 * and nobody should close one by leaving a value out.
 */
export function parseAccessList(text: string): AccessList {
  const words = [...text.matchAll(/[^\s,]+/g)];
  if (words.length === 0) throw mistake(0, text);
  if (words.length === 1 && words[0]?.[0] === "*") return "everyone";
  return words.map((word) => readCaller(word[0], word.index));
}

/** Writes a list that {@link parseAccessList} reads as the same. */
export function formatAccessList(list: AccessList): string {
  return list === "everyone" ? "*" : list.map(formatCaller).join(",");
}

function formatCaller(caller: Caller): string {
  switch (caller.kind) {
    case "workload":
      return `${caller.namespace}/${caller.serviceAccount}`;
    case "namespace":
      return `${caller.namespace}/*`;
    case "id":
      return caller.id;
  }
}

function readCaller(word: string, offset: number): Caller {
  const [, namespace, serviceAccount] = WORKLOAD.exec(word) ?? [];
  if (namespace !== undefined && serviceAccount === "*") return { kind: "namespace", namespace };
  if (namespace !== undefined && serviceAccount !== undefined) return { kind: "workload", namespace, serviceAccount };
  try {
    return { kind: "id", id: parseSpiffeId(word) };
  } catch (cause) {
    throw mistake(offset, word, cause);
  }
}

function mistake(offset: number, value: string, cause?: unknown): ConfigError {
  const shown = value.slice(0, 100);
  const allowed = `* alone, or a list of ${CALLER_FORMS}`;
  return new ConfigError(
    "invalid_value",
    `access list, column ${offset + 1}: ${shown.trim() === "" ? "nothing there" : `"${shown}"`}; allowed: ${allowed}`,
    { cause, fields: { position: offset + 1, value: shown, allowed } },
  );
}

/** True when `identity` is in the list. Null, nobody proven, is in `everyone` only. */
export function isListed(list: AccessList, identity: SpiffeId | null): boolean {
  if (list === "everyone") return true;
  if (identity === null) return false;
  const { namespace, serviceAccount } = spiffeParts(identity);
  return list.some((caller) => {
    if (caller.kind === "id") return caller.id === identity;
    return caller.namespace === namespace && (caller.kind === "namespace" || caller.serviceAccount === serviceAccount);
  });
}

// AdmissionReview v1, in and out: what the API server asks and how it wants to be answered. Knows nothing of pods.
// https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
import { isUtf8 } from "node:buffer";
import { AdmissionError } from "../../core/errors.ts";
import type { PatchOperation } from "../patch/difference.ts";

const API_VERSION = "admission.k8s.io/v1";
const KIND = "AdmissionReview";
/** Longer warnings are cut by the API server, and more than 4096 characters together are dropped. */
const MAX_WARNING_LENGTH = 256;
const MAX_WARNINGS_LENGTH = 4096;
const MAX_MESSAGE_LENGTH = 8192;
/** The deepest that Kubernetes defines is a CronJob's, at about 25. */
const MAX_DEPTH = 100;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** What is asked. */
export interface AdmissionRequest {
  /** Echoed in the answer. */
  readonly uid: string;
  readonly operation: string;
  /** `Pod`, and the group it is of. */
  readonly kind: { readonly group: string; readonly kind: string };
  /** `pods`, and the group it is of. */
  readonly resource: { readonly group: string; readonly resource: string };
  readonly subResource: string;
  readonly namespace: string;
  readonly name: string;
  readonly dryRun: boolean;
  /** The object itself, unchecked. */
  readonly object: unknown;
  /** The object that an update replaces, unchecked. */
  readonly oldObject: unknown;
}

/** What is answered. */
export interface AdmissionAnswer {
  readonly allowed: boolean;
  readonly patch: readonly PatchOperation[];
  /** For the person whose request is refused; ignored when allowed. */
  readonly message: string;
  readonly warnings: readonly string[];
  /** Written to the audit log, under the webhook's name. */
  readonly audit: Readonly<Record<string, string>>;
}

/** Reads a request body. Throws `AdmissionError("malformed_review")` saying what is wrong with it. */
export function parseReview(body: Buffer): AdmissionRequest {
  if (body.length === 0) throw malformed("the body is empty");
  const review = parseJson(body);
  if (!isObject(review)) throw malformed("the body is not an object");
  if (review["kind"] !== KIND || review["apiVersion"] !== API_VERSION) {
    throw malformed(`expected ${KIND} of ${API_VERSION}, found ${shown(review["kind"])} of ${shown(review["apiVersion"])}`);
  }
  const request = review["request"];
  if (!isObject(request)) throw malformed("it has no request");
  const uid = request["uid"];
  if (typeof uid !== "string" || uid === "" || uid.length > 253) throw malformed("its request has no uid");
  const resource = isObject(request["resource"]) ? request["resource"] : {};
  const kind = isObject(request["kind"]) ? request["kind"] : {};
  return {
    uid,
    operation: text(request["operation"]),
    kind: { group: text(kind["group"]), kind: text(kind["kind"]) },
    resource: { group: text(resource["group"]), resource: text(resource["resource"]) },
    subResource: text(request["subResource"]),
    namespace: text(request["namespace"]),
    name: text(request["name"]),
    dryRun: request["dryRun"] === true,
    object: request["object"],
    oldObject: request["oldObject"],
  };
}

/** Prints the answer to the request with `uid`. */
export function formatReview(uid: string, answer: AdmissionAnswer): string {
  const response = {
    uid,
    allowed: answer.allowed,
    ...(answer.allowed ? {} : { status: { code: 422, reason: "Invalid", message: cut(printable(answer.message), MAX_MESSAGE_LENGTH) } }),
    ...(answer.warnings.length === 0 ? {} : { warnings: fitWarnings(answer.warnings) }),
    ...(Object.keys(answer.audit).length === 0 ? {} : { auditAnnotations: answer.audit }),
  };
  const text = JSON.stringify({ apiVersion: API_VERSION, kind: KIND, response });
  // A patch without its type, or an empty one, is an error to some API servers.
  return answer.allowed && answer.patch.length > 0 ? withPatch(text, answer.patch) : text;
}

/** Most of an answer is the patch: its base64, which needs no escapes, is put in front of the two closing braces as it is and not printed once more. */
function withPatch(text: string, patch: readonly PatchOperation[]): string {
  const base64 = Buffer.from(JSON.stringify(patch)).toString("base64");
  return `${text.slice(0, -2)},"patchType":"JSONPatch","patch":"${base64}"}}`;
}

function fitWarnings(warnings: readonly string[]): readonly string[] {
  const fitting: string[] = [];
  let left = MAX_WARNINGS_LENGTH;
  for (const warning of warnings) {
    // They travel in a header: no line breaks.
    const line = cut(printable(warning), MAX_WARNING_LENGTH);
    left -= line.length;
    if (left < 0) break;
    fitting.push(line);
  }
  return fitting;
}

/**
 * JSON as RFC 8259 has it. Of a key that comes twice the last counts, as in the API server. Invalid UTF-8 is refused and not repaired, because a repaired
 * text is another text. Numbers are JavaScript's: what is larger loses digits here, but only what we set ourselves is ever sent back.
 */
function parseJson(body: Buffer): unknown {
  if (!isUtf8(body)) throw malformed("the body is not UTF-8");
  if (isTooDeep(body)) throw malformed(`the body is nested more than ${MAX_DEPTH} levels deep`);
  try {
    return JSON.parse(body.toString("utf8"));
  } catch (cause) {
    throw new AdmissionError("malformed_review", "the body is not JSON", { cause });
  }
}

/** Whoever walks the object later may do so by recursion. One step for each byte, about 1 ms for 1 MB; `indexOf` for the ends of texts costs more. */
function isTooDeep(body: Buffer): boolean {
  const { length } = body;
  let depth = 0;
  for (let at = 0; at < length; at += 1) {
    const byte = body[at];
    if (byte === QUOTE) {
      at += 1;
      // A backslash takes the byte after it along, which may be a quote.
      for (let inside = body[at]; inside !== QUOTE && at < length; inside = body[at]) at += inside === BACKSLASH ? 2 : 1;
    } else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
      depth += 1;
      if (depth > MAX_DEPTH) return true;
    } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) depth -= 1;
  }
  return false;
}

function malformed(sentence: string): AdmissionError {
  return new AdmissionError("malformed_review", `not an AdmissionReview: ${sentence}`);
}

function shown(value: unknown): string {
  return value === undefined ? "nothing" : cut(JSON.stringify(value), 100);
}

/** Terminals obey control characters, and some others turn or hide what stands beside them. */
function printable(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]+/gu, " ");
}

function cut(line: string, length: number): string {
  return line.length <= length ? line : `${line.slice(0, length - 1)}…`;
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

// Writes message heads (RFC 9112 sections 3 and 4). The fields are what the stage lists left; framing and connection fields are this hop's own and written
// from what the engine knows, never copied.
//
// HOT PATH: one string per head, made by appending; nothing is parsed again.
import { STATUS_CODES } from "node:http";
import { sameName } from "../../core/field-name.ts";
import { BODY, type BodyKind } from "./framing.ts";

/** What this hop says about the body and the connection. */
export interface HopFields {
  readonly kind: BodyKind;
  /** Content-Length, or -1 to send none. */
  readonly length: number;
  /** Protocol to switch to; empty for none. */
  readonly upgradeTo: string;
  /** The Connection field; empty for none. */
  readonly connection: "" | "close" | "keep-alive";
}

/** A request head. `target` is in the form that it leaves in, `host` the authority it goes to. */
export function requestHead(method: string, target: string, host: string, fields: readonly string[], hop: HopFields): string {
  return `${method} ${target} HTTP/1.1\r\nhost: ${host}\r\n${fieldLines(fields, true)}${hopLines(hop)}\r\n`;
}

/** The head of an answer. */
export function answerHead(status: number, reason: string, fields: readonly string[], hop: HopFields): string {
  return `HTTP/1.1 ${status} ${reason}\r\n${fieldLines(fields, hop.upgradeTo !== "")}${hopLines(hop)}\r\n`;
}

/** The head of an answer that the sidecar gives by itself. */
export function ownAnswerHead(status: number, fields: readonly string[], hop: HopFields): string {
  return answerHead(status, STATUS_CODES[status] ?? "", fields, hop);
}

/** A trailer section with its empty line. */
export function trailerSection(fields: readonly string[]): string {
  return fields.length === 0 ? "\r\n" : `${fieldLines(fields, false)}\r\n`;
}

/** `namesHost`: Host and Upgrade are this hop's as well, as in a request. */
function fieldLines(fields: readonly string[], namesHost: boolean): string {
  let text = "";
  for (let index = 0; index < fields.length; index += 2) {
    const name = fields[index] as string;
    if (!isHopField(name, namesHost)) text += `${name}: ${fields[index + 1]}\r\n`;
  }
  return text;
}

function hopLines(hop: HopFields): string {
  let text = "";
  if (hop.kind === BODY.chunked) text = "transfer-encoding: chunked\r\n";
  else if (hop.length !== -1) text = `content-length: ${hop.length}\r\n`;
  if (hop.upgradeTo !== "") text += `connection: upgrade\r\nupgrade: ${hop.upgradeTo}\r\n`;
  else if (hop.connection !== "") text += `connection: ${hop.connection}\r\n`;
  return text;
}

/** Fields that this hop writes itself. */
function isHopField(name: string, namesHost: boolean): boolean {
  switch (name.length) {
    case 4:
      return namesHost && sameName(name, "host");
    case 7:
      return namesHost && sameName(name, "upgrade");
    case 10:
      return sameName(name, "connection");
    case 14:
      return sameName(name, "content-length");
    case 17:
      return sameName(name, "transfer-encoding");
    default:
      return false;
  }
}

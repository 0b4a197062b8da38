// Writes what this hop says by itself: heads of its own answers, lines of fields, trailer sections (RFC 9112 sections 4, 5 and 7.1.2).
import { STATUS_CODES } from "node:http";
import { fieldLines } from "../fields.ts";

/** The head of an answer of the sidecar's own. `connection` is `close`, `keep-alive` or empty for none. */
export function ownAnswerHead(status: number, fields: readonly string[], contentLength: number, connection: string): string {
  const framing = fields.includes("content-length") ? "" : `content-length: ${contentLength}\r\n`;
  return `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\n${fieldLines(fields)}${framing}${connectionLine(connection)}\r\n`;
}

/** The Connection field of this hop; nothing for an empty one. */
export function connectionLine(connection: string): string {
  return connection === "" ? "" : `connection: ${connection}\r\n`;
}

/** A trailer section with its empty line. */
export function trailerSection(fields: readonly string[]): string {
  return fields.length === 0 ? "\r\n" : `${fieldLines(fields)}\r\n`;
}

// Heads of the compat engine's HTTP/2, between node:http2's lists and the engine's words.
import type { Exchange, RequestHead } from "../exchange.ts";
import { editedFields, FlatFields } from "../fields.ts";

/** The head of a request. */
export function headOf(raw: readonly string[]): RequestHead {
  let method = "";
  let authority = "";
  let path = "";
  let host = "";
  const headers: string[] = [];
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] as string;
    const value = raw[index + 1] as string;
    if (name === ":method") method = value;
    else if (name === ":authority") authority = value;
    else if (name === ":path") path = value;
    else if (name === "host") host = value;
    else if (!name.startsWith(":")) headers.push(name, value);
  }
  return { method, authority: authority === "" ? host : authority, path, isPlainPath: false, fields: new FlatFields(headers) };
}

/** The fields of an answer. */
export function withoutPseudo(raw: readonly string[]): string[] {
  const headers: string[] = [];
  for (let index = 0; index < raw.length; index += 2) {
    if (!(raw[index] as string).startsWith(":")) headers.push(raw[index] as string, raw[index + 1] as string);
  }
  return headers;
}

/** The head that goes to the upstream. */
export function requestFields(exchange: Exchange): string[] {
  const fields = [":method", exchange.method, ":scheme", "http", ":authority", exchange.authority, ":path", exchange.path];
  for (const part of editedFields(exchange.head.fields, exchange.edit)) fields.push(part);
  return fields;
}

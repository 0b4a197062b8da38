// What differs between a message as it was meant and as it arrived behind the stages: everything end to end, and nothing that belongs to one hop.
import { trailerFields } from "../../../sidecar/policy/header-hygiene.ts";
import { MARK, passedAnswerFields, passedRequestFields } from "./passage.ts";
import { type Field, valuesOf } from "./reference-head.ts";
import type { ReferenceAnswer, ReferenceRequest } from "./reference.ts";

/** What was expected and what was seen, for a person; null for no difference. */
export type Text = string;

/** Fields that belong to one hop: framing is compared by what it says, Host by where the request goes. */
const HOP_FIELDS: ReadonlySet<string> = new Set([
  "host",
  "content-length",
  "transfer-encoding",
  "connection",
  "keep-alive",
  "expect",
  "upgrade",
  MARK,
]);

function endToEnd(fields: readonly Field[]): string {
  return fields
    .filter(([name]) => !HOP_FIELDS.has(name.toLowerCase()))
    .map(([name, value], index) => ({ line: `${name.toLowerCase()}: ${value}`, name: name.toLowerCase(), index }))
    .sort((left, right) => (left.name < right.name ? -1 : left.name > right.name ? 1 : left.index - right.index))
    .map(({ line }) => line)
    .join("\n");
}

function pairs(list: readonly string[]): Field[] {
  const fields: Field[] = [];
  for (let index = 0; index + 1 < list.length; index += 2) fields.push([list[index] as string, list[index + 1] as string]);
  return fields;
}

/** What differs between a request as it was meant and as it arrived; null for nothing. */
export function differenceOfRequests(meant: ReferenceRequest, arrived: ReferenceRequest): Text | null {
  if (arrived.method !== meant.method) return differs("method", meant.method, arrived.method);
  if (arrived.path !== meant.path && arrived.target !== meant.authority) return differs("target", meant.path, arrived.path);
  const host = valuesOf(arrived.fields, "host")[0] ?? "";
  const authority = meant.authority === "" ? "app:80" : meant.authority;
  if (host !== authority) return differs("host", authority, host);
  const expected = endToEnd(passedRequestFields(meant.fields));
  if (endToEnd(arrived.fields) !== expected) return differs("fields", expected, endToEnd(arrived.fields));
  if (!arrived.body.isWhole) return "its body did not arrive whole";
  if (arrived.body.content !== meant.body.content) return differs("content", meant.body.content, arrived.body.content);
  const trailers = endToEnd(pairs(trailerFields(meant.body.trailers.flat())));
  return endToEnd(arrived.body.trailers) === trailers ? null : differs("trailers", trailers, endToEnd(arrived.body.trailers));
}

/** What differs between an answer as the app gave it and as the client heard it; null for nothing. Interim answers of the hops' own are no difference. */
export function differenceOfAnswers(given: ReferenceAnswer, heard: ReferenceAnswer): Text | null {
  if (heard.head === null || given.head === null) return `is no answer (${[...heard.flaws].join() || "nothing came"})`;
  if (heard.flaws.size > 0) return `breaks ${[...heard.flaws]}`;
  if (heard.head.status !== given.head.status) return differs("status", String(given.head.status), String(heard.head.status));
  const fields = passedAnswerFields(given.head.fields);
  // A server may add the date of what has none (RFC 9110 section 6.6.1).
  if (valuesOf(fields, "date").length === 0) fields.push(...heard.head.fields.filter(([name]) => name === "Date"));
  const expected = endToEnd(fields);
  if (endToEnd(heard.head.fields) !== expected) return differs("fields", expected, endToEnd(heard.head.fields));
  if (heard.body?.isWhole !== true) return "is not whole";
  if (heard.body.content !== given.body?.content) return differs("content", given.body?.content ?? "", heard.body.content);
  const trailers = endToEnd(pairs(trailerFields(given.body.trailers.flat())));
  const isDropped = heard.body.trailers.length === 0 && heard.head.framing !== "chunked";
  return isDropped || endToEnd(heard.body.trailers) === trailers ? null : differs("trailers", trailers, endToEnd(heard.body.trailers));
}

function differs(what: string, expected: string, seen: string): Text {
  return `${what} ${JSON.stringify(shortened(expected))} became ${JSON.stringify(shortened(seen))}`;
}

function shortened(text: string): string {
  return text.length > 400 ? `${text.slice(0, 400)}… (${text.length})` : text;
}

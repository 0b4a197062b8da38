// Holds what came of a case against what its exchanges mean. Of a case that does nothing wrong, everything must be right; of one that does, whatever is passed on
// must still be nobody else's, and a message that came whole must be one that was sent.
import { tokensIn } from "../http1-fuzz/fuzz-case.ts";
import type { Field } from "./frame-text.ts";
import type { Heard } from "./frame-peer.ts";
import type { FuzzExchange, Message } from "./fuzz-case.ts";
import type { CaseRecord } from "./fuzz-world.ts";

/** A difference; `exchange` is null for what is wrong with the connection. */
export interface Difference {
  readonly exchange: FuzzExchange | null;
  readonly text: string;
}

/** What is wrong with a record. */
export function compare(record: CaseRecord): Difference[] {
  return [
    ...foreign(record),
    ...(record.fuzzCase.mutation === null ? record.fuzzCase.exchanges.flatMap((each) => compareExchange(record, each)) : []),
  ];
}

/** Anything of another case, or in a case without flaws of another exchange. */
function foreign({ fuzzCase, heard, arrived }: CaseRecord): Difference[] {
  const found: Difference[] = [];
  const owners = new Map(fuzzCase.exchanges.map((each) => [each.id, each]));
  const look = (exchange: FuzzExchange | null, { sections, body }: Heard, where: string) => {
    for (const { token, number } of tokensIn(`${sections.flat().join(" ")} ${body}`)) {
      const isForeign = number !== fuzzCase.number || (fuzzCase.mutation === null && token !== exchange?.token);
      if (isForeign) found.push({ exchange, text: `${token} is in what came to the ${where}` });
    }
  };
  for (const [id, each] of heard) look(owners.get(id) ?? null, each, "client");
  for (const [token, requests] of arrived) {
    const exchange = fuzzCase.exchanges.find((each) => each.token === token) ?? null;
    for (const each of requests) look(exchange, each, "app");
  }
  return found;
}

function compareExchange(record: CaseRecord, exchange: FuzzExchange): Difference[] {
  const { answer, token } = exchange;
  const found: Difference[] = [];
  const say = (text: string | null, where: string) => {
    if (text !== null) found.push({ exchange, text: `${where}: ${text}` });
  };
  if (record.failure !== -1) found.push({ exchange, text: `the connection failed with ${record.failure}` });
  const requests = record.arrived.get(token) ?? [];
  const isWholeRequest = exchange.resetAfter === -1;
  const isWholeAnswer = answer.resetAfter === -1;
  if (requests.length > 1) found.push({ exchange, text: `the request came ${requests.length} times` });
  const request = requests[0];
  const pseudo = [exchange.method, exchange.path];
  if (request === undefined) say(isWholeRequest ? "nothing came" : null, "app");
  else {
    if (isWholeRequest && isWholeAnswer) say(wholeFlaw(request, exchange, []), "app");
    else say(partFlaw(request, exchange, []), "app");
    const head = request.sections[0] ?? [];
    say([":method", ":path"].map((name) => head[head.indexOf(name) + 1]).join(" ") === pseudo.join(" ") ? null : "another request", "app");
  }
  const heard = record.heard.get(exchange.id) ?? { sections: [], body: "", isEnded: false, resetCode: -1 };
  const interims = Array.from({ length: answer.interims }, () => "103");
  if (!isWholeRequest) say(partFlaw(heard, answer, [...interims, answer.status]), "client");
  else if (isWholeAnswer) say(wholeFlaw(heard, answer, [...interims, answer.status]), "client");
  else say(brokenFlaw(heard, exchange, [...interims, answer.status]), "client");
  return found;
}

/** An answer that the app broke off: it is a 502 if its head had not come, else what had come and a reset, unless all had come. */
function brokenFlaw(heard: Heard, { answer }: FuzzExchange, statuses: readonly string[]): string | null {
  if (statusesOf(heard).at(-1) === "502" || wholeFlaw(heard, answer, statuses) === null) return null;
  if (heard.resetCode === -1) return "an answer that is broken off is not reset";
  return partFlaw(heard, answer, statuses);
}

/** What is wrong with a message that must be whole; `statuses` are those of an answer. */
function wholeFlaw(heard: Heard, message: Message, statuses: readonly string[]): string | null {
  const { sections, body, isEnded, resetCode } = heard;
  // NO_ERROR behind a whole answer says that no more of the request is wanted.
  if (resetCode > 0) return `reset with ${resetCode}`;
  if (!isEnded) return "no end came";
  if (statusesOf(heard).join() !== statuses.join()) return `status ${statusesOf(heard)} instead of ${statuses}`;
  if (body !== message.body.join(""))
    return `${body.length} octets of content that are not the ${message.body.join("").length} that were sent`;
  const head = sections[Math.max(0, statuses.length - 1)];
  if (fieldsOf(head) !== textOf(message.fields)) return `fields ${fieldsOf(head)} instead of ${textOf(message.fields)}`;
  const trailers = sections[Math.max(1, statuses.length)];
  if (fieldsOf(trailers) !== textOf(message.trailers ?? []))
    return `trailers ${fieldsOf(trailers)} instead of ${textOf(message.trailers ?? [])}`;
  return null;
}

/** What is wrong with a message that may be cut short anywhere. */
function partFlaw(heard: Heard, message: Message, statuses: readonly string[]): string | null {
  if (!message.body.join("").startsWith(heard.body)) return "content that was not sent";
  const found = statusesOf(heard);
  return found.every((status, index) => status === statuses[index]) ? null : `status ${found} instead of ${statuses}`;
}

function statusesOf({ sections }: Heard): string[] {
  return sections.flatMap((section) => section.filter((_, index) => section[index - 1] === ":status" && index % 2 === 1));
}

/** Fields that the case has put in, in the order in which names sort. */
function fieldsOf(section: readonly string[] | undefined): string {
  const pairs: Field[] = [];
  for (let index = 0; index < (section?.length ?? 0); index += 2) pairs.push([section?.[index] ?? "", section?.[index + 1] ?? ""]);
  return textOf(pairs.filter(([name]) => name.startsWith("f-") || name === "content-length"));
}

function textOf(fields: readonly Field[]): string {
  return [...fields]
    .map(([name, value]) => `${name}: ${value}`)
    .sort()
    .join("; ");
}

/** A request or an answer that came whole, in one text; null for one that did not. */
export function wholeText(heard: Heard | undefined): string | null {
  if (heard === undefined || !heard.isEnded || heard.resetCode > 0) return null;
  const pseudo = heard.sections.flatMap((section) =>
    section.filter((_, index) => /^:(method|path|status)$/.test(section[index - (index % 2)] ?? "")),
  );
  return JSON.stringify([pseudo.sort(), heard.sections.map(fieldsOf), heard.body]);
}

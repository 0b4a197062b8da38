// Makes cases from a seed: well-formed exchanges of every kind that HTTP/1.1 has, then changed in a few places, then cut into pieces.
import type { SeededRandom } from "../seeded-random.ts";
import { createSeededRandom } from "../seeded-random.ts";
import { type AnswerScript, type FuzzCase, tokenOf } from "./fuzz-case.ts";
import { mutate } from "./mutate.ts";

/** Makes case `number` of `seed`. `hosts`: where its requests go. */
export function generateCase(seed: number, number: number, hosts: readonly string[] = HOSTS): FuzzCase {
  const random = createSeededRandom(Math.imul(seed, 0x9e3779b1) ^ Math.imul(number + 1, 0x85ebca77));
  const count = 1 + (random.below(3) === 0 ? random.below(6) : random.below(2));
  const requests: string[] = [];
  const answers = new Map<string, AnswerScript>();
  for (let index = 0; index < count; index += 1) {
    const token = tokenOf(number, index);
    const method = methodOf(random);
    requests.push(requestOf(random, token, method, random.pick(hosts)));
    answers.set(token, answerOf(random, token, method));
  }
  const plan = random.below(20);
  // 0..6 as they are, 7..15 a request is changed, 16..18 an answer, 19 both.
  let text = requests.join("");
  let sharesPool = true;
  if ((plan >= 7 && plan <= 15) || plan === 19) {
    const changed = random.below(count);
    requests[changed] = mutate(random, requests[changed] as string);
    text = requests.join("");
    if (random.below(10) === 0) text = mutate(random, text);
  }
  if (plan >= 16) {
    const token = tokenOf(number, random.below(count));
    const answer = changedAnswer(random, answers.get(token) as AnswerScript);
    answers.set(token, answer);
    sharesPool = answer.pieces.length === 1;
  }
  if (random.below(30) === 0) text = text.slice(0, random.below(text.length));
  sharesPool &&= [...answers.values()].every(({ after }) => after === "keep");
  return {
    seed,
    number,
    origin: number,
    pieces: cut(random, text),
    answers,
    exchanges: count,
    sharesPool,
    leave: random.below(3) === 0 ? "reset" : "end",
  };
}

const METHODS = ["GET", "GET", "GET", "POST", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "TRACE"] as const;

function methodOf(random: SeededRandom): string {
  return random.below(60) === 0 ? random.pick(["FOO", "M-SEARCH", "get", "x!#$%&'*+-.^_`|~9", "PROPFIND", "BREW"]) : random.pick(METHODS);
}

function requestOf(random: SeededRandom, token: string, method: string, host: string): string {
  const isHttp10 = random.below(12) === 0;
  const lines = [`${method} ${targetOf(random, token, method, host)} HTTP/1.${isHttp10 ? 0 : 1}`];
  const fields = [fieldOf(random, "Host", host), fieldOf(random, "X-Token", token)];
  if (isHttp10 && random.below(4) === 0) fields.shift();
  for (let more = random.below(5); more > 0; more -= 1) fields.push(fieldOf(random, ...random.pick(FIELDS)));
  if (random.below(400) === 0) for (let more = 0; more < 99; more += 1) fields.push(`X-${more}: y`);
  if (random.below(300) === 0) fields.push(`X-Long: ${"l".repeat(random.pick([2000, 5000, 20_000]))}`);
  if (isHttp10 && random.below(2) === 0) fields.push("Connection: keep-alive");
  else if (random.below(12) === 0) fields.push(fieldOf(random, "Connection", random.pick(["close", "Close", "x-a, close", "keep-alive"])));
  if (random.below(80) === 0) fields.push("Expect: 100-continue");
  const hasBody = method === "POST" || method === "PUT" || method === "PATCH" || random.below(12) === 0;
  const body = hasBody ? bodyOf(random, token, !isHttp10) : { field: "", text: "" };
  if (body.field !== "") fields.splice(random.below(fields.length + 1), 0, body.field);
  return `${[...lines, ...fields].join("\r\n")}\r\n\r\n${body.text}`;
}

const HOSTS = ["orders", "orders", "orders:80", "Orders.Demo", "127.0.0.1:8080", "[::1]:80", "a-b_c.d"] as const;

function targetOf(random: SeededRandom, token: string, method: string, host: string): string {
  const path = `/t/${token}${random.pick(["", "", "", "/", "?a=b", "?a=http://other/", "/%2e/%7Ex", '?q={}|\\^`"<>', "//x", "/;a=b@c", "?", "/a:b"])}`;
  const form = random.below(25);
  if (form === 0) return `${random.pick(["http", "HTTP"])}://${host}${path}`;
  if (form === 1 && method === "OPTIONS") return "*";
  return path;
}

const FIELDS: readonly (readonly [string, string])[] = [
  ["Accept", "*/*"],
  ["accept-encoding", "gzip, deflate"],
  ["Cookie", "a=b; c=d"],
  ["Cookie", "e=f"],
  ["User-Agent", 'fuzz/1 (x; y) "z"'],
  ["X-Empty", ""],
  ["X-Obs", "caf\xe9 \x80\xff"],
  ["X-Tabs", "a\tb  c"],
  ["X-Repeated", "1"],
  ["x-repeated", "2"],
  ["X-Repeated", "3"],
  ["X-Colon", "a: b: c"],
  ["X_Underscore", "u"],
  ["!#$%&'*+-.^_`|~9", "every token character"],
  ["TE", "trailers"],
  ["TE", "gzip"],
  ["Keep-Alive", "timeout=5"],
  ["Connection", "x-empty"],
  ["Upgrade", "h2c"],
  ["Content-Type", "text/plain"],
  ["Trailer", "X-Sum"],
  ["Range", "bytes=0-1"],
  ["If-None-Match", '"x"'],
];

function fieldOf(random: SeededRandom, name: string, value: string): string {
  const before = random.below(10) === 0 ? random.pick(["", "  ", "\t", " \t "]) : " ";
  const after = random.below(20) === 0 ? random.pick([" ", "\t", "  \t"]) : "";
  return `${name}:${before}${value}${after}`;
}

/** A body and the field that frames it. */
function bodyOf(random: SeededRandom, token: string, mayBeChunked: boolean): { readonly field: string; readonly text: string } {
  const content = contentOf(random, token);
  if (!mayBeChunked || random.below(2) === 0) {
    return {
      field: fieldOf(random, random.pick(["Content-Length", "content-length", "CONTENT-LENGTH"]), String(content.length)),
      text: content,
    };
  }
  return {
    field: fieldOf(random, random.pick(["Transfer-Encoding", "transfer-encoding"]), random.pick(["chunked", "chunked", "Chunked"])),
    text: chunked(random, content),
  };
}

function contentOf(random: SeededRandom, token: string): string {
  switch (random.below(8)) {
    case 0:
      return "";
    case 1:
      return `${token}\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n`;
    case 2:
      return `${token}${"b".repeat(random.pick([1, 200, 3000]))}${token}`;
    case 3:
      return Array.from({ length: 1 + random.below(40) }, () => String.fromCharCode(random.below(256))).join("");
    case 4:
      return random.below(40) === 0 ? `${token}${"m".repeat(90_000)}` : token;
    default:
      return `${token} ${random.below(1000)}`;
  }
}

function chunked(random: SeededRandom, content: string): string {
  let text = "";
  for (let at = 0; at < content.length; ) {
    const size = Math.min(content.length - at, 1 + random.below(random.pick([3, 40, 100_000])));
    const digits = random.below(8) === 0 ? `0${size.toString(16).toUpperCase()}` : size.toString(16);
    text += `${digits}${extensionOf(random)}\r\n${content.slice(at, at + size)}\r\n`;
    at += size;
  }
  text += `${random.pick(["0", "0", "0", "000"])}${extensionOf(random)}\r\n`;
  if (random.below(5) === 0) text += "X-Sum: abc\r\n";
  if (random.below(20) === 0) text += "X-Obs: \xe9\r\nX-Empty:\r\n";
  return `${text}\r\n`;
}

function extensionOf(random: SeededRandom): string {
  return random.below(10) === 0 ? random.pick([";a", ";a=b", ';a="b c"', "; a = b", ";", ";a;b;c=d", ";\xe9"]) : "";
}

const STATUSES = [
  "200 OK",
  "200 OK",
  "200 OK",
  "200",
  "200 ",
  "201 Created",
  "204 No Content",
  "304 Not Modified",
  "404 Not Found",
  "500 caf\xe9",
  "301 Moved",
  "418 I'm a teapot",
] as const;

function answerOf(random: SeededRandom, token: string, method: string): AnswerScript {
  const status = random.pick(STATUSES);
  const isBodiless = method === "HEAD" || status.startsWith("204") || status.startsWith("304");
  const isHttp10 = random.below(15) === 0;
  const fields = [fieldOf(random, "X-Token", token)];
  for (let more = random.below(4); more > 0; more -= 1) fields.push(fieldOf(random, ...random.pick(ANSWER_FIELDS)));
  let after: AnswerScript["after"] = random.below(12) === 0 ? "end" : "keep";
  if (isHttp10 && after === "keep") fields.push("Connection: keep-alive");
  else if (after === "end" && random.below(2) === 0) fields.push("Connection: close");
  let text = "";
  if (isBodiless) {
    if (!status.startsWith("204") && random.below(3) === 0) fields.push("Content-Length: 5");
  } else if (random.below(10) === 0) {
    text = contentOf(random, token);
    after = "end";
  } else {
    const body = bodyOf(random, token, !isHttp10);
    fields.splice(random.below(fields.length + 1), 0, body.field);
    text = body.text;
  }
  const interim =
    isHttp10 || random.below(15) > 0
      ? ""
      : random.pick(["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"]);
  const bytes = `${interim}HTTP/1.${isHttp10 ? 0 : 1} ${status}\r\n${fields.join("\r\n")}\r\n\r\n${text}`;
  return { pieces: cut(random, bytes), at: random.below(15) === 0 ? "head" : "end", method, after };
}

const ANSWER_FIELDS: readonly (readonly [string, string])[] = [
  ["Content-Type", "text/plain"],
  ["Set-Cookie", "a=b"],
  ["Set-Cookie", "c=d"],
  ["Server", "fuzz"],
  ["X-Obs", "caf\xe9"],
  ["X-Empty", ""],
  ["Date", "Sat, 01 Jan 2000 00:00:00 GMT"],
  ["Connection", "keep-alive"],
  ["Keep-Alive", "timeout=60"],
  ["ETag", '"x"'],
  ["Vary", "*"],
];

function changedAnswer(random: SeededRandom, script: AnswerScript): AnswerScript {
  let text = script.pieces.join("");
  switch (random.below(8)) {
    case 0:
      return { ...script, pieces: cut(random, text.slice(0, random.below(text.length))), after: random.pick(["end", "reset"]) };
    case 1:
      text += random.pick(["x", "\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "0\r\n\r\n"]);
      break;
    case 2:
      return { ...script, pieces: [], at: random.pick(["head", "end"]), after: random.pick(["end", "reset"]) };
    default:
      text = mutate(random, text);
  }
  return { ...script, pieces: cut(random, text), after: random.pick(["keep", "end", "end"]) };
}

/** Cuts a text into pieces: mostly one or a few, sometimes single bytes. */
function cut(random: SeededRandom, text: string): string[] {
  const style = random.below(40);
  if (style < 20 || text.length < 2) return text === "" ? [] : [text];
  if (style === 20 && text.length < 700) return text.split("");
  const cuts = new Set<number>();
  for (let count = 1 + random.below(5); count > 0; count -= 1) cuts.add(1 + random.below(text.length - 1));
  let from = 0;
  const pieces: string[] = [];
  for (const to of [...cuts].sort((left, right) => left - right).concat(text.length)) {
    pieces.push(text.slice(from, to));
    from = to;
  }
  return pieces;
}

// Lists of request fields from a seed: what gRPC and browsers send, what nobody sends but may, and the same again. Valid by RFC 9113, so that any peer takes
// them; values are Latin-1, an octet per character.
import { HeaderEntry, INDEXING, type Indexing } from "../../../../sidecar/http2/hpack/header-entry.ts";
import type { SeededRandom } from "../../../support/seeded-random.ts";

/** Gives one list after the other. */
export interface HeaderLists {
  next(): readonly HeaderEntry[];
}

/** Lists that may come again. */
const REMEMBERED = 12;

const TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz";
const BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const HEX = "0123456789abcdef";
/** Every octet that a value may have in it (RFC 9110 section 5.5). */
const IN_VALUE = String.fromCharCode(
  0x09,
  ...Array.from({ length: 0x5f }, (_, at) => 0x20 + at),
  ...Array.from({ length: 0x80 }, (_, at) => 0x80 + at),
);
const VISIBLE = IN_VALUE.slice(2);
/** Fields which node:http2 takes no two of, or which mean something to it: not for random names. */
const TAKEN = new Set([
  "te",
  "host",
  "date",
  "connection",
  "upgrade",
  "http2-settings",
  "keep-alive",
  "transfer-encoding",
  "proxy-connection",
]);

const BROWSER_FIELDS: ReadonlyArray<readonly [string, string]> = [
  ["user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"],
  ["accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"],
  ["accept-language", "de-DE,de;q=0.8,en-US;q=0.5,en;q=0.3"],
  ["accept-encoding", "gzip, deflate, br, zstd"],
  ["accept-encoding", "gzip, deflate"],
  ["referer", "https://shop.example/basket?step=2"],
  ["cookie", "session=0f4c8b52-1d0a-4f8b-8e0e"],
  ["cookie", "theme=dark"],
  ["upgrade-insecure-requests", "1"],
  ["sec-fetch-dest", "document"],
  ["sec-fetch-mode", "navigate"],
  ["sec-fetch-site", "same-origin"],
  ["priority", "u=0, i"],
  ["cache-control", "max-age=0"],
  ["if-none-match", '"33a64df551425fcc55e4d42a148795d9f25f89d4"'],
];

/** Makes lists; the same numbers give the same ones. */
export function createHeaderLists(random: SeededRandom): HeaderLists {
  const remembered: Array<readonly HeaderEntry[]> = [];
  return {
    next: () => {
      if (remembered.length > 0 && random.below(2) === 0) return repeated(random, random.pick(remembered));
      const list = createList(random);
      remembered[remembered.length < REMEMBERED ? remembered.length : random.below(REMEMBERED)] = list;
      return list;
    },
  };
}

/** The same entries, entries with the same texts as from another connection, or a part of them. */
function repeated(random: SeededRandom, list: readonly HeaderEntry[]): readonly HeaderEntry[] {
  const how = random.below(4);
  if (how === 0) return list.map(({ name, value, indexing }) => new HeaderEntry(name, `${value} `.slice(0, -1), indexing));
  if (how === 1) return list.filter(({ pseudo }) => pseudo !== 0 || random.below(4) > 0);
  return list;
}

function createList(random: SeededRandom): HeaderEntry[] {
  const fields = random.pick([grpcJs, grpcGo, browser, anything, anything])(random);
  return fields.map(([name, value]) => new HeaderEntry(name, value, indexingOf(random)));
}

type Fields = Array<readonly [string, string]>;

function indexingOf(random: SeededRandom): Indexing {
  const draw = random.below(16);
  if (draw === 0) return INDEXING.never;
  return draw < 4 ? INDEXING.once : INDEXING.indexed;
}

function start(random: SeededRandom, method: string): Fields {
  return [
    [":method", method],
    [":scheme", random.pick(["http", "https"])],
    [":authority", random.pick(["orders:50051", "10.1.2.3:8080", "shop.example", "[2001:db8::1]:443"])],
    [
      ":path",
      random.pick(["/", "/index.html", "/shop.Orders/Place", "/shop.Orders/Watch", `/find?q=${draw(random, HEX, random.below(60))}`]),
    ],
  ];
}

function grpcJs(random: SeededRandom): Fields {
  const fields = start(random, "POST");
  fields.push(["grpc-accept-encoding", "identity,deflate,gzip"], ["accept-encoding", "identity"], ["user-agent", "grpc-node-js/1.14.7"]);
  fields.push(["content-type", "application/grpc"], ["te", "trailers"], ...callFields(random));
  return fields;
}

function grpcGo(random: SeededRandom): Fields {
  const fields = start(random, "POST");
  fields.push(["content-type", "application/grpc"], ["user-agent", "grpc-go/1.76.0"], ["te", "trailers"], ...callFields(random));
  return fields;
}

function callFields(random: SeededRandom): Fields {
  const fields: Fields = [];
  if (random.below(2) === 0) fields.push(["grpc-timeout", `${1 + random.below(99_999_999)}${random.pick(["S", "m", "u", "n"])}`]);
  if (random.below(3) === 0) fields.push(["traceparent", `00-${draw(random, HEX, 32)}-${draw(random, HEX, 16)}-01`]);
  if (random.below(3) === 0) fields.push(["x-request-id", draw(random, HEX, 32)]);
  if (random.below(3) === 0) fields.push(["x-tenant", random.pick(["north", "south"])]);
  for (let more = random.below(3); more > 0; more -= 1)
    fields.push([`meta-${random.below(5)}-bin`, draw(random, BASE64, lengthOf(random))]);
  if (random.below(4) === 0) fields.push(["authorization", `Bearer ${draw(random, BASE64, 20 + random.below(800))}`]);
  return fields;
}

function browser(random: SeededRandom): Fields {
  const fields = start(random, random.pick(["GET", "GET", "POST", "HEAD", "PROPFIND"]));
  for (const field of BROWSER_FIELDS) if (random.below(4) > 0) fields.push(field);
  if (random.below(4) === 0) fields.push(["content-length", String(random.below(1_000_000))]);
  return fields;
}

function anything(random: SeededRandom): Fields {
  const fields = start(random, random.pick(["GET", "POST", draw(random, "ABCDEFGHI", 1 + random.below(12))]));
  for (let more = random.below(20); more > 0; more -= 1) fields.push([anyName(random), anyValue(random)]);
  return fields;
}

function anyName(random: SeededRandom): string {
  // Few names with many values, so that names are found where fields are not.
  if (random.below(2) === 0) return `x-n${random.below(20)}`;
  const name = draw(random, TOKEN, 1 + random.below(random.below(20) === 0 ? 300 : 24));
  return TAKEN.has(name) ? `x-${name}` : name;
}

function anyValue(random: SeededRandom): string {
  const length = lengthOf(random);
  if (length === 0) return "";
  if (length === 1) return draw(random, VISIBLE, 1);
  return (
    draw(random, VISIBLE, 1) +
    draw(random, random.pick([IN_VALUE, VISIBLE, BASE64, "\u{80}\u{ff}\\"]), length - 2) +
    draw(random, VISIBLE, 1)
  );
}

/** Mostly short, at times some KiB. */
function lengthOf(random: SeededRandom): number {
  const size = random.below(100);
  if (size === 0) return random.below(6000);
  return size < 10 ? random.below(400) : random.below(40);
}

function draw(random: SeededRandom, from: string, length: number): string {
  let text = "";
  for (let at = 0; at < length; at += 1) text += from[random.below(from.length)];
  return text;
}

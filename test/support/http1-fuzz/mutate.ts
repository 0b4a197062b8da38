// Changes a message in the ways that make parsers disagree: single bytes, line ends, fields that frame, sizes of chunks, and pieces that come twice or not.
import type { SeededRandom } from "../seeded-random.ts";
import { ODD_FIELDS } from "./odd-fields.ts";

/** Gives `text` (latin1) with one to three changes. */
export function mutate(random: SeededRandom, text: string): string {
  let changed = text;
  for (let count = 1 + random.below(random.pick([1, 1, 3])); count > 0; count -= 1) changed = random.pick(CHANGES)(random, changed);
  return changed;
}

type Change = (random: SeededRandom, text: string) => string;

const CHANGES: readonly Change[] = [
  flipByte,
  insertByte,
  insertByte,
  removeByte,
  changeLine,
  changeLine,
  changeLineEnd,
  insertField,
  insertField,
  insertField,
  changeSize,
  changeSize,
  repeatPart,
  changeFirstLine,
  changeCase,
];

function splice(text: string, at: number, removed: number, inserted: string): string {
  return text.slice(0, at) + inserted + text.slice(at + removed);
}

/** A place in the text: mostly in its head, where the meaning is. */
function placeIn(random: SeededRandom, text: string): number {
  const headEnd = text.indexOf("\r\n\r\n");
  return random.below(Math.max(1, headEnd > 0 && random.below(3) > 0 ? headEnd + 4 : Math.min(text.length, 4000)));
}

function flipByte(random: SeededRandom, text: string): string {
  const at = placeIn(random, text);
  const code = text.charCodeAt(at) || 0;
  const flipped = random.below(2) === 0 ? code ^ (1 << random.below(8)) : random.below(256);
  return splice(text, at, 1, String.fromCharCode(flipped & 0xff));
}

const ODD = [
  "\r",
  "\n",
  "\r\n",
  "\r\n\r\n",
  "\0",
  " ",
  "\t",
  ":",
  ";",
  ",",
  "\x0b",
  "\x7f",
  "\x80",
  "\xff",
  "#",
  "@",
  "/",
  "0",
  "9",
  "-",
  "+",
  '"',
  "\\",
  "%",
] as const;

function insertByte(random: SeededRandom, text: string): string {
  return splice(text, placeIn(random, text), 0, random.pick(ODD));
}

function removeByte(random: SeededRandom, text: string): string {
  return splice(text, placeIn(random, text), 1 + (random.below(5) === 0 ? random.below(20) : 0), "");
}

function linesOf(text: string): { readonly lines: string[]; readonly rest: string } {
  const end = text.indexOf("\r\n\r\n");
  const head = end === -1 ? text : text.slice(0, end);
  return { lines: head.split("\r\n"), rest: end === -1 ? "" : text.slice(end) };
}

/** A line of the head comes twice, not at all, or in another place. */
function changeLine(random: SeededRandom, text: string): string {
  const { lines, rest } = linesOf(text);
  const at = random.below(lines.length);
  const line = lines[at] as string;
  switch (random.below(5)) {
    case 0:
      lines.splice(at, 0, line);
      break;
    case 1:
      lines.splice(at, 1);
      break;
    case 2:
      lines.splice(at, 1);
      lines.splice(random.below(lines.length + 1), 0, line);
      break;
    case 3:
      lines[at] = random.pick([
        ` ${line}`,
        `\t${line}`,
        `${line} `,
        line.replace(":", " :"),
        line.replace(":", ""),
        line.replace(": ", ":\r\n "),
      ]);
      break;
    default:
      lines.splice(at, 0, random.pick(["", " ", "x", ":", ": x", "\t", "x y: z"]));
  }
  return lines.join("\r\n") + rest;
}

function changeLineEnd(random: SeededRandom, text: string): string {
  const ends: number[] = [];
  for (let at = text.indexOf("\r\n"); at !== -1 && ends.length < 200; at = text.indexOf("\r\n", at + 2)) ends.push(at);
  if (ends.length === 0) return text;
  return splice(
    text,
    random.pick(ends),
    2,
    random.pick(["\n", "\r", "\n\r", "\r\r\n", "\n\n", "\r\n\n", " \r\n", "", "\r\n\r\n", "\r\n "]),
  );
}

function insertField(random: SeededRandom, text: string): string {
  const { lines, rest } = linesOf(text);
  lines.splice(1 + random.below(lines.length), 0, random.pick(ODD_FIELDS));
  return lines.join("\r\n") + rest;
}

/** A number at the start of a line is changed: the size of a chunk, in most bodies. */
function changeSize(random: SeededRandom, text: string): string {
  const headEnd = text.indexOf("\r\n\r\n");
  const sizes = [...text.slice(Math.max(0, headEnd + 2), headEnd + 4000).matchAll(/\r\n([0-9a-fA-F]+)(?=[;\r])/g)];
  if (headEnd === -1 || sizes.length === 0)
    return text.replace(
      /(content-length: *)([0-9]+)/i,
      (_, name, length) => `${name}${random.pick([Number(length) + 1, Math.max(0, Number(length) - 1), `${length}x`, `0${length}`, 0])}`,
    );
  const size = random.pick(sizes);
  const at = headEnd + 2 + (size.index ?? 0) + 2;
  const digits = size[1] as string;
  const value = Number.parseInt(digits, 16);
  return splice(
    text,
    at,
    digits.length,
    random.pick([
      (value + 1).toString(16),
      Math.max(0, value - 1).toString(16),
      `0x${digits}`,
      `-${digits}`,
      `+${digits}`,
      ` ${digits}`,
      `${digits} `,
      `${digits}g`,
      `${digits};`,
      `${digits};${"e".repeat(random.pick([5, 255, 256, 20_000]))}`,
      `${"0".repeat(random.pick([1, 14, 17]))}${digits}`,
      `f${"f".repeat(15)}${digits}`,
      "",
      "0",
      "20000000000000",
      `${digits};\0`,
      `${digits};\n`,
    ]),
  );
}

function repeatPart(random: SeededRandom, text: string): string {
  const from = placeIn(random, text);
  const part = text.slice(from, from + 1 + random.below(60));
  return splice(text, random.below(text.length + 1), 0, part);
}

function changeFirstLine(random: SeededRandom, text: string): string {
  return text.replace(/^[^\r\n]*/, (line) =>
    random.pick([
      line.replace(
        /HTTP\/1\.[01]/,
        random.pick(["HTTP/1.0", "HTTP/1.1", "HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "http/1.1", "HTTP/1", "HTTP/1.10", ""]),
      ),
      line.replaceAll(" ", random.pick(["  ", "\t", "", "\x0b"])),
      ` ${line}`,
      `${line} `,
      line.replace(
        / [^ ]*/,
        random.pick([
          " *",
          " ",
          " x",
          " http://other/x",
          " http://orders/x",
          " http://a@orders/",
          " /x#y",
          " ftp://orders/",
          " orders:80",
          ` /${"t".repeat(9000)}`,
        ]),
      ),
      line.replace(/^[^ ]*/, random.pick(["", "G(T", "HEAD", "GET", "POST", "OPTIONS", "TRACE", "PRI", "M".repeat(40)])),
      line.replace(/[0-9]{3}/, random.pick(["099", "600", "999", "20", "2000", "204", "304", "100", "103", "101", "200x"])),
    ]),
  );
}

function changeCase(random: SeededRandom, text: string): string {
  const at = placeIn(random, text);
  const part = text.slice(at, at + 1 + random.below(20));
  return splice(
    text,
    at,
    part.length,
    random.below(2) === 0
      ? part.replace(/[a-z]+/g, (letters) => letters.toUpperCase())
      : part.replace(/[A-Z]+/g, (letters) => letters.toLowerCase()),
  );
}

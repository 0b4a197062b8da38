// A second opinion on HTTP/1.1 bodies, as plain as `reference-head.ts`.
import { FORBIDDEN_TRAILERS, LIMITS } from "../../../sidecar/http1/strictness.ts";
import { type Field, type Flaws, readFields } from "./reference-head.ts";

/** How a body is framed. */
export interface Framing {
  readonly kind: "none" | "length" | "chunked" | "close";
  /** Bytes of the body; of kind `length` only. */
  readonly length: number;
}

/** A body, or as much of it as came. */
export interface Body {
  readonly content: string;
  readonly trailers: readonly Field[];
  /** False while more must come, and when it is flawed. A body until close is whole when `isEnded`. */
  readonly isWhole: boolean;
  readonly flaws: Flaws;
  /** True when it ends in a trailer section whose end has not come, and whose lines are flawed: a reader may refuse it now, or at its end. */
  readonly isDoubtful: boolean;
  /** Index after the last byte that belongs to it. */
  readonly end: number;
}

/** Reads the body that begins at `at`. `isEnded`: no further byte will come. */
export function readBody(text: string, at: number, framing: Framing, isEnded: boolean): Body {
  const flaws: Flaws = new Set();
  if (framing.kind === "none") return { content: "", trailers: [], isWhole: true, flaws, isDoubtful: false, end: at };
  if (framing.kind === "chunked") return readChunks(text, at);
  const end = framing.kind === "close" ? text.length : Math.min(text.length, at + framing.length);
  const isWhole = framing.kind === "close" ? isEnded : end - at === framing.length;
  return { content: text.slice(at, end), trailers: [], isWhole, flaws, isDoubtful: false, end };
}

const EXTENSION = "(?:;[\\t\\x20-\\x7e\\x80-\\xff]*)?";
const SIZE_LINE = new RegExp(`^([0-9A-Fa-f]+)(${EXTENSION})$`);
const BEGUN_SIZE_LINE = new RegExp(`^(?:[0-9A-Fa-f]+(?:${EXTENSION}\\r?))?$`);

function readChunks(text: string, at: number): Body {
  const flaws: Flaws = new Set();
  let content = "";
  let extensionBytes = 0;
  let index = at;
  let isDoubtful = false;
  const stopped = (trailers: readonly Field[] = [], isWhole = false): Body => ({
    content,
    trailers,
    isWhole,
    flaws,
    isDoubtful,
    end: index,
  });
  for (;;) {
    const lineEnd = text.indexOf("\r\n", index);
    const line = text.slice(index, lineEnd === -1 ? text.length : lineEnd);
    const size = SIZE_LINE.exec(line);
    addSizeFlaws(line, lineEnd !== -1, size?.[2] ?? "", extensionBytes, flaws);
    if (flaws.size > 0 || lineEnd === -1) return stopped();
    const length = Number.parseInt((size as RegExpExecArray)[1] as string, 16); // no flaw: it matched
    extensionBytes += (size?.[2] ?? "").length;
    index = lineEnd + 2;
    if (length === 0) break;
    content += text.slice(index, index + length);
    index += length;
    const after = text.slice(index, index + 2);
    if (!"\r\n".startsWith(after)) flaws.add("chunk_end_missing");
    if (after !== "\r\n") {
      index = Math.min(index, text.length);
      return stopped();
    }
    index += 2;
  }
  if (text.startsWith("\r\n", index)) {
    index += 2;
    return stopped([], true);
  }
  const sectionEnd = text.indexOf("\r\n\r\n", index);
  if (sectionEnd === -1) {
    const section = text.slice(index);
    addBegunTrailerFlaws(section, flaws);
    isDoubtful = hasFlawedLine(section);
    return stopped();
  }
  if (sectionEnd + 4 - index > LIMITS.headBytes) flaws.add("head_too_large");
  const trailers = readFields(text.slice(index, sectionEnd).split("\r\n"), flaws);
  for (const [name] of trailers) if (FORBIDDEN_TRAILERS.has(name.toLowerCase())) flaws.add("trailer_forbidden");
  index = sectionEnd + 4;
  return stopped(trailers, flaws.size === 0);
}

/** What is wrong with a size line, `isWhole` or as far as it came. */
function addSizeFlaws(line: string, isWhole: boolean, extension: string, extensionBytesBefore: number, flaws: Flaws): void {
  const digits = /^[0-9A-Fa-f]*/.exec(line)?.[0] ?? "";
  if (digits.length > LIMITS.chunkSizeDigits || Number.parseInt(digits, 16) > LIMITS.lengthMax) flaws.add("chunk_size_too_large");
  const begun = extension === "" ? line.slice(digits.length).replace(/\r$/, "") : extension;
  if (begun.length > LIMITS.chunkExtensionBytes || begun.length + extensionBytesBefore > LIMITS.bodyExtensionBytes)
    flaws.add("chunk_extension_too_long");
  if (isWhole ? SIZE_LINE.test(line) : BEGUN_SIZE_LINE.test(line)) return;
  if (digits === "") flaws.add("chunk_size_missing");
  if (line.includes("\n")) flaws.add("bare_lf");
  if (line.includes("\r")) flaws.add("bare_cr");
  flaws.add(line[digits.length] === ";" ? "chunk_extension_invalid" : "chunk_size_invalid");
}

function hasFlawedLine(section: string): boolean {
  const found: Flaws = new Set();
  // The last line may not be whole; what it has is enough where it is not even the start of a field.
  readFields(section.split("\r\n"), found);
  return found.size > 0;
}

/** A section that has not ended is flawed for sure only by a line end that will never be one, or by its size; an engine may wait with the rest. */
function addBegunTrailerFlaws(section: string, flaws: Flaws): void {
  // Then whatever else is wrong may be named as well.
  if (/(^|[^\r])\n/.test(section)) readFields(section.split("\r\n"), flaws.add("bare_lf"));
  if (section.length > LIMITS.headBytes) flaws.add("head_too_large");
}

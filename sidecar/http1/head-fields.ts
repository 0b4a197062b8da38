// The field lines of one head (RFC 9112 section 5), as places in the bytes they came in: nothing is copied or made a text before a stage asks for it, and
// what stays is forwarded as bytes. Also reads trailer sections. Strict: what is not exactly the grammar is refused by a row of `strictness.ts`, never
// repaired (design 13, rule 5).
//
// HOT PATH: one pass over the bytes with a table look-up each; no allocation per field.
import { kindOfBytes } from "../../core/field-kind.ts";
import { type FieldView, fieldLines, type HeadEdit, isLeftOut } from "../fields.ts";
import { putBytes, putText } from "../transport/outgoing.ts";
import type { Wire } from "../transport/wire.ts";
import { CHARACTERS, COLON, CR, endOfValue, IN_TOKEN, isBlank, LF, SP } from "./scan.ts";
import { LIMITS, type StrictnessRule } from "./strictness.ts";

/** Numbers per field in the table: kind, start of the line, end of the name, start and end of the value. */
const COLUMNS = 5;
const KIND = 0;
const LINE = 1;
const NAME_END = 2;
const VALUE = 3;
const VALUE_END = 4;

/** Rows at first: more than most heads have. */
const FIRST_ROWS = 32;

const NO_BYTES = Buffer.alloc(0);

/** The fields of a head, read again for each. */
export class HeadFields implements FieldView {
  count = 0;
  kinds = 0;
  /** What was wrong, set exactly when {@link read} returned -1. */
  flaw: StrictnessRule | null = null;
  /** Most fields of a head. */
  maxFields: number = LIMITS.fields;
  #bytes: Buffer = NO_BYTES;
  #table = new Int32Array(FIRST_ROWS * COLUMNS);
  /** Where the empty line begins. */
  #end = 0;

  /**
   * Reads the field lines of bytes[start..end) up to and with the empty line. Returns the index behind it, `end + 1` while it has not come, or -1. The places
   * hold for these bytes until {@link moveTo} says where they are now.
   */
  read(bytes: Buffer, start: number, end: number): number {
    this.count = 0;
    this.kinds = 0;
    this.#bytes = bytes;
    let at = start;
    while (at < end) {
      if (bytes[at] === CR) return this.#readEmptyLine(bytes, at, end);
      at = this.#readLine(bytes, at, end);
      if (at === -1 || at > end) return at;
    }
    return end + 1;
  }

  #readEmptyLine(bytes: Buffer, at: number, end: number): number {
    if (at + 1 === end) return end + 1;
    if (bytes[at + 1] !== LF) return this.#fail("bare_cr");
    this.#end = at;
    return at + 2;
  }

  #readLine(bytes: Buffer, lineAt: number, end: number): number {
    let at = lineAt;
    while (at < end && ((CHARACTERS[bytes[at] as number] as number) & IN_TOKEN) !== 0) at += 1;
    if (at === end) return end + 1;
    const nameEnd = at;
    if (bytes[at] !== COLON) return this.#failName(bytes, lineAt, at, end);
    if (nameEnd === lineAt) return this.#fail("field_name_empty");
    at += 1;
    while (at < end && isBlank(bytes[at] as number)) at += 1;
    const valueAt = at;
    at = endOfValue(bytes, at, end);
    if (at + 1 >= end) return at === end || bytes[at] === CR ? end + 1 : this.#fail(bytes[at] === LF ? "bare_lf" : "field_value_invalid");
    if (bytes[at] !== CR) return this.#fail(bytes[at] === LF ? "bare_lf" : "field_value_invalid");
    if (bytes[at + 1] !== LF) return this.#fail("bare_cr");
    let valueEnd = at;
    while (valueEnd > valueAt && isBlank(bytes[valueEnd - 1] as number)) valueEnd -= 1;
    if (this.count === this.maxFields) return this.#fail("too_many_fields");
    this.#note(kindOfBytes(bytes, lineAt, nameEnd), lineAt, nameEnd, valueAt, valueEnd);
    return at + 2;
  }

  #note(kind: number, lineAt: number, nameEnd: number, valueAt: number, valueEnd: number): void {
    const row = this.count * COLUMNS;
    if (row === this.#table.length) this.#grow();
    const table = this.#table;
    table[row + KIND] = kind;
    table[row + LINE] = lineAt;
    table[row + NAME_END] = nameEnd;
    table[row + VALUE] = valueAt;
    table[row + VALUE_END] = valueEnd;
    this.kinds |= kind;
    this.count += 1;
  }

  #grow(): void {
    const table = new Int32Array((LIMITS.fields + LIMITS.addedFields) * COLUMNS);
    table.set(this.#table);
    this.#table = table;
  }

  /** What stands where a name's colon should be. */
  #failName(bytes: Buffer, lineAt: number, at: number, end: number): number {
    const byte = bytes[at] as number;
    if (byte === LF) return this.#fail("bare_lf");
    if (byte === CR && at + 1 === end) return end + 1;
    if (byte === CR && bytes[at + 1] !== LF) return this.#fail("bare_cr");
    if (!isBlank(byte)) return this.#fail("field_name_invalid");
    if (at === lineAt) return this.#fail(this.count === 0 ? "leading_whitespace" : "obs_fold");
    let after = at;
    while (after < end && isBlank(bytes[after] as number)) after += 1;
    if (after === end) return end + 1;
    return this.#fail(bytes[after] === COLON ? "space_before_colon" : "field_name_invalid");
  }

  #fail(flaw: StrictnessRule): -1 {
    this.flaw = flaw;
    return -1;
  }

  /** The bytes were copied: they are in `bytes` now, `by` before where they were. */
  moveTo(bytes: Buffer, by: number): void {
    this.#bytes = bytes;
    this.#end -= by;
    if (by === 0) return;
    const rows = this.count * COLUMNS;
    const table = this.#table;
    for (let row = 0; row < rows; row += COLUMNS) {
      table[row + LINE] = (table[row + LINE] as number) - by;
      table[row + NAME_END] = (table[row + NAME_END] as number) - by;
      table[row + VALUE] = (table[row + VALUE] as number) - by;
      table[row + VALUE_END] = (table[row + VALUE_END] as number) - by;
    }
  }

  /** Lets the bytes go: the head is done with. */
  clear(): void {
    this.#bytes = NO_BYTES;
    this.count = 0;
    this.kinds = 0;
  }

  kind(index: number): number {
    return this.#table[index * COLUMNS + KIND] as number;
  }

  name(index: number): string {
    const row = index * COLUMNS;
    return this.#bytes.toString("latin1", this.#table[row + LINE], this.#table[row + NAME_END]);
  }

  value(index: number): string {
    const row = index * COLUMNS;
    return this.#bytes.toString("latin1", this.#table[row + VALUE], this.#table[row + VALUE_END]);
  }

  valueLength(index: number): number {
    const row = index * COLUMNS;
    return (this.#table[row + VALUE_END] as number) - (this.#table[row + VALUE] as number);
  }

  valueCode(index: number, at: number): number {
    return this.#bytes[(this.#table[index * COLUMNS + VALUE] as number) + at] as number;
  }

  /** True when a value is exactly `text`. */
  valueIs(index: number, text: string): boolean {
    const row = index * COLUMNS;
    const valueAt = this.#table[row + VALUE] as number;
    if ((this.#table[row + VALUE_END] as number) - valueAt !== text.length) return false;
    for (let at = 0; at < text.length; at += 1) if (this.#bytes[valueAt + at] !== text.charCodeAt(at)) return false;
    return true;
  }

  /** True when around a value there is at most the one space before it: what all readers take for the same value, however they see tabs. */
  isTight(index: number): boolean {
    const row = index * COLUMNS;
    const bytes = this.#bytes;
    const valueAt = this.#table[row + VALUE] as number;
    const before = valueAt - (this.#table[row + NAME_END] as number);
    return (before === 1 || (before === 2 && bytes[valueAt - 1] === SP)) && bytes[this.#table[row + VALUE_END] as number] === CR;
  }

  /** The number that a value of 1 to 15 digits without leading zeros stands for: the usual length of a body; -1 for anything else. */
  usualNumber(index: number): number {
    const row = index * COLUMNS;
    const valueAt = this.#table[row + VALUE] as number;
    const valueEnd = this.#table[row + VALUE_END] as number;
    const digits = valueEnd - valueAt;
    if (digits === 0 || digits > 15 || (digits > 1 && this.#bytes[valueAt] === 0x30)) return -1;
    let total = 0;
    for (let at = valueAt; at < valueEnd; at += 1) {
      const digit = (this.#bytes[at] as number) - 0x30;
      if (digit < 0 || digit > 9) return -1;
      total = total * 10 + digit;
    }
    return total;
  }

  /**
   * Writes bytes[start..), which is a first line or nothing, the lines that the edit and `alsoStrip` leave, neighbours in one piece, then `added`, the lines
   * that the edit adds, and the empty line.
   */
  put(wire: Wire, start: number, edit: HeadEdit, alsoStrip: number, added: string): void {
    const bytes = this.#bytes;
    const table = this.#table;
    const strip = edit.strip | alsoStrip;
    const isPlain = edit.nominated === null;
    let from = start;
    if ((this.kinds & strip) !== 0 || !isPlain) {
      for (let index = 0; index < this.count; index += 1) {
        const row = index * COLUMNS;
        if (((table[row + KIND] as number) & strip) === 0 && (isPlain || !isLeftOut(this, index, edit))) continue;
        const lineAt = table[row + LINE] as number;
        if (lineAt > from) putBytes(wire, bytes, from, lineAt);
        from = index + 1 < this.count ? (table[row + COLUMNS + LINE] as number) : this.#end;
      }
    }
    const { standing } = edit;
    const lines = edit.added.length === 0 ? added : added + fieldLines(edit.added);
    if (lines === "" && standing === null) return putBytes(wire, bytes, from, this.#end + 2); // the empty line is behind the last field
    if (this.#end > from) putBytes(wire, bytes, from, this.#end);
    if (standing === null) return putText(wire, `${lines}\r\n`);
    if (lines !== "") putText(wire, lines);
    putBytes(wire, standing.endOfHead, 0, standing.endOfHead.length);
  }

  /** Where the first field line begins, or the empty line where there is none. */
  get startsAt(): number {
    return this.count === 0 ? this.#end : (this.#table[LINE] as number);
  }
}

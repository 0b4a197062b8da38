// The fields of a message head as the stages see them, whatever the engine holds them in, and what the stages do to them: an edit, which leaves some out
// and adds some. So an engine that has the head as bytes can forward what stays as the bytes it came in.
import { sameName } from "../core/field-name.ts";
import { kindOf } from "../core/field-kind.ts";

/** The fields of a head, in order. Valid as long as its exchange. */
export interface FieldView {
  readonly count: number;
  /** The kinds of all fields together, as bits of `FIELD`. */
  readonly kinds: number;
  /** The kind of one field: a bit of `FIELD`, or 0. */
  kind(index: number): number;
  name(index: number): string;
  value(index: number): string;
  /** Characters of a value, and one of them as a code: for a look at a value that needs no text. */
  valueLength(index: number): number;
  valueCode(index: number, at: number): number;
  /** True when a value is exactly `text`. */
  valueIs(index: number, text: string): boolean;
}

/** What the stages do to the fields of a head. */
export interface HeadEdit {
  /** Fields of these kinds are left out: bits of `FIELD`. */
  readonly strip: number;
  /** Fields of these lower-case names as well; null for none: the usual case. */
  readonly nominated: readonly string[] | null;
  /** Fields that are added behind: name, value, name, value, … */
  readonly added: readonly string[];
  /** Fields that are added last; null for none. */
  readonly standing: StandingFields | null;
}

const NONE: readonly string[] = [];

/** The edit that leaves every field as it is. */
export const NO_EDIT: HeadEdit = Object.freeze({ strip: 0, nominated: null, added: NONE, standing: null });

/** The edit of a request, which its stages make one after the other. */
export class RequestEdit implements HeadEdit {
  strip = 0;
  nominated: readonly string[] | null = null;
  added: readonly string[] = NONE;
  standing: StandingFields | null = null;
  /** What the stages added; null until the first attempt begins. */
  #stagesAdded: readonly string[] | null = null;

  /** What is added from here on is for one attempt, and gone with the next call: a request that is sent again is sealed for another connection. */
  beginAttempt(): void {
    if (this.#stagesAdded === null) this.#stagesAdded = this.added;
    else this.added = this.#stagesAdded;
  }

  add(...fields: readonly string[]): void {
    this.addAll(fields);
  }

  /** As {@link add}, of a list that nobody changes any more. */
  addAll(fields: readonly string[]): void {
    this.added = this.added.length === 0 ? fields : this.added.concat(fields);
  }
}

/** Fields that are added to every request of a connection: written once. */
export class StandingFields {
  /** Name, value, name, value, … */
  readonly flat: readonly string[];
  /** Their lines and the empty line behind a head (RFC 9112 section 2.1). */
  readonly endOfHead: Buffer;

  constructor(flat: readonly string[]) {
    this.flat = flat;
    this.endOfHead = Buffer.from(`${fieldLines(flat)}\r\n`, "latin1");
  }
}

/** The lines of a flat list of fields, as HTTP/1.1 has them. */
export function fieldLines(fields: readonly string[]): string {
  let text = "";
  for (let index = 0; index < fields.length; index += 2) text += `${fields[index]}: ${fields[index + 1]}\r\n`;
  return text;
}

/** A head that an engine holds as a flat list: name, value, name, value, … without pseudo headers. */
export class FlatFields implements FieldView {
  readonly count: number;
  readonly kinds: number;
  readonly #flat: readonly string[];
  readonly #kinds: Int32Array;

  constructor(flat: readonly string[]) {
    this.#flat = flat;
    this.count = flat.length >> 1;
    this.#kinds = new Int32Array(this.count);
    let kinds = 0;
    for (let index = 0; index < this.count; index += 1) {
      const kind = kindOf(flat[2 * index] as string);
      this.#kinds[index] = kind;
      kinds |= kind;
    }
    this.kinds = kinds;
  }

  kind(index: number): number {
    return this.#kinds[index] as number;
  }

  name(index: number): string {
    return this.#flat[2 * index] as string;
  }

  value(index: number): string {
    return this.#flat[2 * index + 1] as string;
  }

  valueLength(index: number): number {
    return (this.#flat[2 * index + 1] as string).length;
  }

  valueCode(index: number, at: number): number {
    return (this.#flat[2 * index + 1] as string).charCodeAt(at);
  }

  valueIs(index: number, text: string): boolean {
    return this.#flat[2 * index + 1] === text;
  }
}

/** A head without fields. */
export const NO_FIELDS: FieldView = new FlatFields(NONE);

/** The value of the first field of a kind; null without one. */
export function firstOfKind(fields: FieldView, kind: number): string | null {
  if ((fields.kinds & kind) === 0) return null;
  for (let index = 0; index < fields.count; index += 1) if ((fields.kind(index) & kind) !== 0) return fields.value(index);
  return null;
}

/** The value of the first field called `name`, which is lower case; null without one. */
export function firstNamed(fields: FieldView, name: string): string | null {
  for (let index = 0; index < fields.count; index += 1) if (sameName(fields.name(index), name)) return fields.value(index);
  return null;
}

/** All fields as a flat list. */
export function flattened(fields: FieldView): string[] {
  const flat: string[] = [];
  for (let index = 0; index < fields.count; index += 1) flat.push(fields.name(index), fields.value(index));
  return flat;
}

/** True when the edit leaves a field out. */
export function isLeftOut(fields: FieldView, index: number, edit: HeadEdit): boolean {
  if ((fields.kind(index) & edit.strip) !== 0) return true;
  return edit.nominated?.some((name) => sameName(fields.name(index), name)) === true;
}

/** The edited fields as a flat list. */
export function editedFields(fields: FieldView, edit: HeadEdit): string[] {
  const flat: string[] = [];
  for (let index = 0; index < fields.count; index += 1) {
    if (!isLeftOut(fields, index, edit)) flat.push(fields.name(index), fields.value(index));
  }
  for (const part of edit.added) flat.push(part);
  if (edit.standing !== null) for (const part of edit.standing.flat) flat.push(part);
  return flat;
}

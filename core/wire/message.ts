// Messages as protobuf (proto3) from a table of their fields. The reflection of protobufjs and its reading of .proto files would cost a sidecar 5 MB of
// private memory and 40 ms of every start for nine small messages; its Writer and Reader are what is left of it here. The tables are held to
// the .proto files by test/core/wire.
import protobuf, { type Reader, type Writer } from "protobufjs/minimal.js";
import { type Kind, type RepeatedField, type SingleField, WIRE_TYPE } from "./field.ts";

/** Bits of a tag below the field's number. */
const WIRE_TYPE_BITS = 3;
const WIRE_TYPE_MASK = 0b111;

/** The field of a property: repeated for arrays. What may be null is a message that may be absent. */
type FieldOf<T> = [T] extends [readonly (infer Item)[]] ? RepeatedField<Item> : SingleField<NonNullable<T>>;

/** The fields of a message by property, in the order of their numbers. Properties of `Choice` are in the table of that choice. */
export type FieldTable<T, Choice extends PropertyKey = never> = { readonly [Name in Exclude<keyof T, Choice>]-?: FieldOf<T[Name]> };

/** A message's encoding, and its use as a field's kind. */
export interface MessageType<T> {
  readonly name: string;
  /** All fields by property, those of a choice too. */
  readonly fields: Readonly<Record<string, AnyField>>;
  /** Properties that are left out are sent as absent. Throws RangeError for a name that an enumeration does not have. */
  encode(message: Partial<T>): Buffer;
  /** Every field of the table is there afterwards; fields that the table does not know are skipped. Throws Error on what is no message. */
  decode(bytes: Uint8Array): T;
  /** For fields that hold such a message; null when absent. */
  readonly kind: Kind<T>;
}

type AnyField = SingleField<unknown> | RepeatedField<unknown>;
type Fields = Record<string, unknown>;

/** Fields of which at most one is set (`oneof`); the last one received counts. `name` is the property that says which, when one is. */
export interface Choice {
  readonly name: string;
  readonly fields: Readonly<Record<string, SingleField<never>>>;
}

/** A message without a choice. */
export function message<T extends object>(name: string, fields: FieldTable<T>): MessageType<T> {
  return create<T>(name, fields as Readonly<Record<string, AnyField>>, null);
}

/** A message of which some properties are a choice: absent, unlike those of `fields`, unless they were sent. */
export function messageWithChoice<T extends object, Chosen extends keyof T>(
  name: string,
  fields: FieldTable<T, Chosen>,
  choice: { readonly name: Chosen; readonly fields: { readonly [Name in Chosen]?: SingleField<NonNullable<T[Name]>> } },
): MessageType<T> {
  return create<T>(name, fields as Readonly<Record<string, AnyField>>, choice as unknown as Choice);
}

function create<T extends object>(name: string, fields: Readonly<Record<string, AnyField>>, choice: Choice | null): MessageType<T> {
  const chosen = choice?.fields ?? {};
  const all: Readonly<Record<string, AnyField>> = { ...fields, ...chosen };
  const byNumber = new Map(Object.entries(all).map(([property, field]) => [field.number, { property, field }]));

  function writeTo(writer: Writer, own: Fields): void {
    for (const [property, field] of Object.entries(all)) {
      const value = own[property];
      if (value === undefined || value === null) continue;
      if (field.repeated) for (const item of value as readonly unknown[]) writeField(writer, field, item);
      else if (property in chosen || !field.kind.isAbsent(value)) writeField(writer, field, value);
    }
  }

  function readFrom(reader: Reader, end: number): Fields {
    const own: Fields = {};
    for (const [property, field] of Object.entries(fields)) own[property] = field.repeated ? [] : field.kind.absent();
    while (reader.pos < end) {
      const tag = reader.uint32();
      const [number, wireType] = [tag >>> WIRE_TYPE_BITS, tag & WIRE_TYPE_MASK];
      if (number === 0) throw new Error(`${name}: a field has number 0`);
      const known = byNumber.get(number);
      if (known === undefined) skip(reader, wireType, name);
      else readField(reader, own, known.property, known.field, wireType);
    }
    if (reader.pos > end) throw new Error(`${name}: a field ends behind its message`);
    return own;
  }

  function readField(reader: Reader, own: Fields, property: string, { repeated, kind }: AnyField, wireType: number): void {
    if (wireType !== kind.wireType) return skip(reader, wireType, name);
    const value = kind.read(reader);
    if (repeated) (own[property] as unknown[]).push(value);
    else if (choice === null || !(property in chosen)) own[property] = value;
    else {
      for (const other of Object.keys(chosen)) delete own[other];
      own[property] = value;
      own[choice.name] = property;
    }
  }

  return {
    name,
    fields: all,
    encode(own) {
      const writer = protobuf.Writer.create();
      writeTo(writer, own as Fields);
      const bytes = writer.finish();
      return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    },
    decode(bytes) {
      return readFrom(protobuf.Reader.create(bytes), bytes.length) as T; // the table has a field for every property of T
    },
    kind: {
      wireType: WIRE_TYPE.bytes,
      absent: () => null as unknown as T, // FieldOf lets such a field stand only where T may be null
      isAbsent: (value) => value === null,
      write(writer, value) {
        writer.fork();
        writeTo(writer, value as Fields);
        writer.ldelim();
      },
      read: (reader) => readFrom(reader, endOfBytes(reader, name)) as T,
    },
  };
}

function writeField(writer: Writer, { number, kind }: AnyField, value: unknown): void {
  writer.uint32((number << WIRE_TYPE_BITS) | kind.wireType);
  kind.write(writer, value);
}

function endOfBytes(reader: Reader, name: string): number {
  const length = reader.uint32();
  if (length > reader.len - reader.pos) throw new Error(`${name}: longer than what holds it`);
  return reader.pos + length;
}

/** Groups (wire types 3 and 4) have no place in proto3, and reading them would recurse. */
function skip(reader: Reader, wireType: number, name: string): void {
  if (!Object.values<number>(WIRE_TYPE).includes(wireType)) throw new Error(`${name}: a field has wire type ${wireType}`);
  reader.skipType(wireType);
}

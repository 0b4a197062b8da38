// The kinds of fields that our messages have, each with its protobuf wire type, how it is written and how it is read. Bytes are written and read by
// protobufjs' Writer and Reader; which field has which number is said in identity-messages.ts and registry-messages.ts.
import type { Reader, Writer } from "protobufjs/minimal.js";

/** How a value travels (protobuf encoding, "Message structure"). The two kinds of groups are not ours, and refused. */
export const WIRE_TYPE = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

/** One kind of value. */
export interface Kind<T> {
  readonly wireType: (typeof WIRE_TYPE)[keyof typeof WIRE_TYPE];
  /** What an absent field is read as; a fresh value each time where it could be changed. */
  absent(): T;
  /** True when the field can be left out because its reader will see the same. */
  isAbsent(value: T): boolean;
  write(writer: Writer, value: T): void;
  read(reader: Reader): T;
}

/** A numbered field; `repeated` ones hold an array, in the order sent. */
export interface Field<T> {
  /** 1 to 2^29 - 1. */
  readonly number: number;
  readonly kind: Kind<T>;
  readonly repeated: boolean;
}

/** A field that holds one value. */
export interface SingleField<T> extends Field<T> {
  readonly repeated: false;
}
/** A field that holds any number of values. */
export interface RepeatedField<T> extends Field<T> {
  readonly repeated: true;
}

/** Text. What is not UTF-8 is read with U+FFFD in its place. */
export const TEXT: Kind<string> = {
  wireType: WIRE_TYPE.bytes,
  absent: () => "",
  isAbsent: (value) => value === "",
  write: (writer, value) => void writer.string(value),
  read: (reader) => readBytes(reader).toString("utf8"), // reader.string() would take text that ends behind the message for complete
};

/** Bytes; read as a view of the message, which nobody writes into. */
export const BYTES: Kind<Buffer> = {
  wireType: WIRE_TYPE.bytes,
  absent: () => Buffer.alloc(0),
  isAbsent: (value) => value.length === 0,
  write: (writer, value) => void writer.bytes(value),
  read: readBytes,
};

export const BOOL: Kind<boolean> = {
  wireType: WIRE_TYPE.varint,
  absent: () => false,
  isAbsent: (value) => !value,
  write: (writer, value) => void writer.bool(value),
  read: (reader) => reader.bool(),
};

/** 0 to 2^32 - 1. */
export const UINT32: Kind<number> = {
  wireType: WIRE_TYPE.varint,
  absent: () => 0,
  isAbsent: (value) => value === 0,
  write: (writer, value) => void writer.uint32(value),
  read: (reader) => reader.uint32(),
};

/** 0 to 2^53 as a number; what a sender makes larger loses its low bits. */
export const UINT64: Kind<number> = {
  wireType: WIRE_TYPE.varint,
  absent: () => 0,
  isAbsent: (value) => value === 0,
  write: (writer, value) => void writer.uint64(value),
  read: (reader) => Number(reader.uint64()), // a number, or a Long, whose text is its decimal value, when that package is there too
};

export const DOUBLE: Kind<number> = {
  wireType: WIRE_TYPE.fixed64,
  absent: () => 0,
  isAbsent: (value) => Object.is(value, 0),
  write: (writer, value) => void writer.double(value),
  read: (reader) => reader.double(),
};

/** One of `names`, whose index is the number sent; the first is the default. A number that a newer sender has a name for stays that number. */
export function oneOf<Name extends string>(names: readonly [Name, ...Name[]]): Kind<Name> {
  return {
    wireType: WIRE_TYPE.varint,
    absent: () => names[0],
    isAbsent: (value) => value === names[0],
    write(writer, value) {
      const index = names.indexOf(value);
      if (index < 0) throw new RangeError(`${JSON.stringify(value)} is none of ${names.join(", ")}`);
      writer.uint32(index);
    },
    read: (reader) => {
      const index = reader.int32();
      return names[index] ?? (index as unknown as Name); // whoever looks at it knows it is none of its names, and refuses it or takes a default
    },
  };
}

/** `field(3, TEXT)`: the field with number 3. */
export function field<T>(number: number, kind: Kind<T>): SingleField<T> {
  return { number, kind, repeated: false };
}

/** `repeated(3, TEXT)`: any number of values under number 3. */
export function repeated<T>(number: number, kind: Kind<T>): RepeatedField<T> {
  return { number, kind, repeated: true };
}

function readBytes(reader: Reader): Buffer {
  const bytes = reader.bytes();
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

// Structured Field Values (RFC 9651): the serializer, as far as HTTP Message Signatures need it (RFC 9421 2.3, RFC 9530). Strict: what the grammar
// cannot carry throws instead of being repaired. Reading is done by the profile itself, which accepts exactly one shape (`profile.ts`).

/** A bare item: sf-integer, sf-string, sf-binary, sf-boolean. */
export type BareItem = number | string | Uint8Array | boolean;

/** Parameters in their order. */
export type Parameters = readonly (readonly [key: string, value: BareItem])[];

/** An item with parameters. */
export interface Item {
  readonly value: BareItem;
  readonly parameters: Parameters;
}

const KEY = /^[a-z*][a-z0-9_.*-]*$/;
const STRING = /^[\x20-\x7e]*$/;
const MAX_INTEGER = 999_999_999_999_999;

/** Prints a bare item (RFC 9651 4.1.3). @throws RangeError when the value has no form. */
export function formatBareItem(value: BareItem): string {
  if (typeof value === "boolean") return value ? "?1" : "?0";
  if (typeof value === "number") return formatInteger(value);
  if (typeof value === "string") return formatString(value);
  return `:${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64")}:`;
}

/** Prints parameters; a true one has no value (RFC 9651 4.1.1.2). */
export function formatParameters(parameters: Parameters): string {
  let text = "";
  for (const [key, value] of parameters) {
    text += value === true ? `;${checkedKey(key)}` : `;${checkedKey(key)}=${formatBareItem(value)}`;
  }
  return text;
}

/** Prints an item with its parameters. */
export function formatItem(item: Item): string {
  return formatBareItem(item.value) + formatParameters(item.parameters);
}

/** Prints an inner list with its parameters (RFC 9651 4.1.1.1). */
export function formatInnerList(items: readonly Item[], parameters: Parameters): string {
  return `(${items.map(formatItem).join(" ")})${formatParameters(parameters)}`;
}

/** Prints one dictionary member whose value is printed already. */
export function formatMember(key: string, value: string): string {
  return `${checkedKey(key)}=${value}`;
}

function formatInteger(value: number): string {
  if (!Number.isInteger(value) || Math.abs(value) > MAX_INTEGER) throw new RangeError(`not an sf-integer: ${value}`);
  return String(value);
}

function formatString(value: string): string {
  if (!STRING.test(value)) throw new RangeError("an sf-string holds printable ASCII only");
  return `"${value.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}

function checkedKey(key: string): string {
  if (!KEY.test(key)) throw new RangeError(`not an sf-key: ${key}`);
  return key;
}

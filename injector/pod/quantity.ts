// Quantities as Kubernetes writes them (apimachinery, resource.Quantity): a number with a decimal or binary suffix, or an exponent. Inside they are
// plain numbers, CPU in thousandths of a core and everything else in its unit, always rounded up as Kubernetes does.

/** Which unit a number counts. */
export type QuantityUnit = "milli" | "one";

const FORM = /^([+-]?)([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?[0-9]{1,3})?$/;
const MAX_LENGTH = 64;
const SUFFIXES: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};
/** Larger than what the arithmetic of powers of ten leaves behind, smaller than anything that anybody writes. */
const ROUNDING = 1e-6;
const RELATIVE_ROUNDING = 1e-9;

/** The amount in `unit`; null for a text that is no quantity. */
export function parseQuantity(text: string, unit: QuantityUnit): number | null {
  const match = text.length > MAX_LENGTH ? null : FORM.exec(text.trim());
  if (match === null) return null;
  const [, sign, digits, suffix = ""] = match;
  const factor = /^[eE]/.test(suffix) && suffix !== "E" ? 10 ** Number(suffix.slice(1)) : (SUFFIXES[suffix] ?? 1);
  const amount = Number(digits) * factor * (unit === "milli" ? 1000 : 1);
  return Number.isFinite(amount) ? (sign === "-" ? -1 : 1) * Math.ceil(amount - Math.min(ROUNDING, amount * RELATIVE_ROUNDING)) : null;
}

/** The shortest usual text of an amount of at least 0; `parseQuantity` gives the amount again. */
export function formatQuantity(amount: number, unit: QuantityUnit): string {
  if (unit === "milli") return amount % 1000 === 0 ? String(amount / 1000) : `${amount}m`;
  for (const suffix of ["Gi", "Mi", "Ki"] as const) {
    const factor = SUFFIXES[suffix] as number; // one of the table above
    if (amount > 0 && amount % factor === 0) return `${amount / factor}${suffix}`;
  }
  return String(amount);
}

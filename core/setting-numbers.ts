// Settings that are numbers: bare ones, and durations and sizes, whose text needs a unit (style 8).
import { DURATION_FORM, formatDuration, parseDurationMs } from "./duration.ts";
import { type Common, declareSetting } from "./setting.ts";
import { formatSize, parseSizeBytes, SIZE_FORM } from "./size.ts";

const BARE_NUMBER = /^[0-9.]+$/;

/** Bounds of a bare number. */
export interface Bounds {
  /** Smallest and largest accepted value, both included. */
  readonly min?: number;
  readonly max?: number;
}
/** Bounds of a duration or size. */
export interface TextBounds {
  /** Smallest and largest accepted value, both included, as text with a unit. */
  readonly min?: string;
  readonly max?: string;
}

function numeric(what: string, form: RegExp, spec: Common & Bounds & { readonly default?: number | null }) {
  const min = spec.min ?? 0;
  const max = spec.max ?? Number.MAX_SAFE_INTEGER;
  const allowed = spec.max === undefined ? `${what} from ${min}` : `${what} from ${min} to ${max}`;
  const parse = (raw: string) => {
    const value = form.test(raw) ? Number(raw) : Number.NaN;
    if (!(value >= min && value <= max)) throw new RangeError("");
    return value;
  };
  return declareSetting(spec, { allowed, parse, format: String });
}

/** Digits, perhaps with a sign. */
export function integer(spec: Common & Bounds & { readonly default?: number | null }) {
  return numeric("a whole number", /^-?[0-9]{1,16}$/, spec);
}

/** Digits, perhaps with a sign and a fraction; no exponent. */
export function number(spec: Common & Bounds & { readonly default?: number | null }) {
  return numeric("a number", /^-?[0-9]{1,16}(?:\.[0-9]{1,16})?$/, spec);
}

/** 0 to 65535. */
export function port(spec: Common & { readonly default?: number | null }) {
  return numeric("a port", /^[0-9]{1,5}$/, { ...spec, max: 65_535 });
}

interface Unit {
  readonly form: string;
  readonly parse: (text: string) => number;
  readonly format: (value: number) => string;
}

function measured(unit: Unit, spec: Common & TextBounds & { readonly default?: string | number | null }) {
  const { default: fallback, ...rest } = spec;
  const min = spec.min === undefined ? 0 : unit.parse(spec.min);
  const max = spec.max === undefined ? Number.MAX_SAFE_INTEGER : unit.parse(spec.max);
  const range = [spec.min === undefined ? "" : `, at least ${spec.min}`, spec.max === undefined ? "" : `, at most ${spec.max}`].join("");
  const parse = (raw: string) => {
    if (BARE_NUMBER.test(raw)) throw new RangeError("it has no unit");
    const value = numberOrNaN(() => unit.parse(raw));
    if (!(value >= min && value <= max)) throw new RangeError("");
    return value;
  };
  const typed = typeof fallback === "string" ? unit.parse(fallback) : fallback;
  return declareSetting<number>(typed === undefined ? rest : { ...rest, default: typed }, {
    allowed: `${unit.form}${range}`,
    parse,
    format: unit.format,
  });
}

/** The reason is dropped: what is allowed is said once, by the report. */
function numberOrNaN(read: () => number): number {
  try {
    return read();
  } catch {
    return Number.NaN;
  }
}

/** In ms. */
export function duration(spec: Common & TextBounds & { readonly default?: string | number | null }) {
  return measured({ form: DURATION_FORM, parse: parseDurationMs, format: formatDuration }, spec);
}

/** In bytes. */
export function size(spec: Common & TextBounds & { readonly default?: string | number | null }) {
  return measured({ form: SIZE_FORM, parse: parseSizeBytes, format: formatSize }, spec);
}

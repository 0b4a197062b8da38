// The kinds of settings: how one text becomes one value, and what is said when it does not. Each is an envalid validator; tables of them are
// read by config.ts.
import { isIP } from "node:net";
import { makeExactValidator, type ValidatorSpec } from "envalid";
import { DURATION_FORM, formatDuration, parseDurationMs } from "./duration.ts";
import { nearestName } from "./nearest.ts";
import { Secret } from "./secret.ts";
import { formatSize, parseSizeBytes, SIZE_FORM } from "./size.ts";

const MAX_TEXT_LENGTH = 64 * 1024;
const MAX_LIST_LENGTH = 10_000;
const CONTROL_CHARACTER = /\p{Cc}/u;
const BARE_NUMBER = /^[0-9.]+$/;

/** One declared setting. */
export interface Setting<T> {
  /** Name of the environment variable; null: derived from the table's key (`maxInflight` → `REMORA_MAX_INFLIGHT`). */
  readonly env: string | null;
  /** One sentence for the README. */
  readonly doc: string;
  /** What is accepted, in words that follow "expected". */
  readonly allowed: string;
  /** The default as it would be written in the environment; null when the setting is required, "" for none. */
  readonly defaultText: string | null;
  readonly isSecret: boolean;
  /** True when an empty value means the default instead of being a mistake. */
  readonly emptyIsDefault: boolean;
  /** What envalid runs. */
  readonly spec: ValidatorSpec<T>;
}

interface Common {
  /** Environment variable, when it is not the table's key in capitals. */
  readonly name?: string;
  /** One sentence for the README. */
  readonly doc: string;
}
interface Required<T> extends Common {
  /** Taken when the variable is not set. Without a default the setting is required. */
  readonly default?: T;
}
interface Optional extends Common {
  readonly default: null;
}
interface Bounds {
  /** Smallest and largest accepted value, both included; same form as the default. */
  readonly min?: number;
  readonly max?: number;
}
interface TextBounds {
  /** Smallest and largest accepted value, both included, as text with a unit. */
  readonly min?: string;
  readonly max?: string;
}

/** Makers of settings. `default: null` makes one optional (its value is then `T | null`); no default makes it required. */
export const setting = {
  /** Any text without control characters; `pattern` narrows it, `allowed` says in words to what. */
  text: text as {
    (spec: Required<string> & TextRules): Setting<string>;
    (spec: Optional & TextRules): Setting<string | null>;
  },
  /** Text that must not be shown. */
  secret: secret as { (spec: Common): Setting<Secret>; (spec: Optional): Setting<Secret | null> },
  /** One of `values`. */
  choice: choice as {
    <const T extends string>(spec: Required<NoInfer<T>> & { readonly values: readonly T[] }): Setting<T>;
    <const T extends string>(spec: Optional & { readonly values: readonly T[] }): Setting<T | null>;
  },
  /** `true` or `false`. */
  flag: flag as { (spec: Required<boolean>): Setting<boolean>; (spec: Optional): Setting<boolean | null> },
  /** A whole number within `min` (default 0) and `max`. */
  integer: integer as { (spec: Required<number> & Bounds): Setting<number>; (spec: Optional & Bounds): Setting<number | null> },
  /** A number within `min` (default 0) and `max`. */
  number: number as { (spec: Required<number> & Bounds): Setting<number>; (spec: Optional & Bounds): Setting<number | null> },
  /** A TCP port, 0 (any free one) to 65535. */
  port: port as { (spec: Required<number>): Setting<number>; (spec: Optional): Setting<number | null> },
  /** A duration with a unit; the value is milliseconds. The default may be given as text ("30s") or in milliseconds. */
  duration: duration as {
    (spec: Required<string | number> & TextBounds): Setting<number>;
    (spec: Optional & TextBounds): Setting<number | null>;
  },
  /** A size with a unit; the value is bytes. The default may be given as text ("64KiB") or in bytes. */
  size: size as { (spec: Required<string | number> & TextBounds): Setting<number>; (spec: Optional & TextBounds): Setting<number | null> },
  /** An IPv4 or IPv6 address. */
  ip: ip as { (spec: Required<string>): Setting<string>; (spec: Optional): Setting<string | null> },
  /** Items separated by commas, trimmed; empty text is the empty list. */
  list: list as (spec: Required<readonly string[]> & TextRules) => Setting<readonly string[]>,
  /** A grammar of its own: `parse` throws an Error that says what is wrong; `format` writes the default for the README. */
  parsed: parsed as {
    <T>(spec: Required<T> & Grammar<T>): Setting<T>;
    <T>(spec: Optional & Grammar<T>): Setting<T | null>;
  },
};

interface TextRules {
  readonly pattern?: RegExp;
  readonly allowed?: string;
}
interface Grammar<T> {
  readonly parse: (text: string) => T;
  readonly allowed: string;
  readonly format?: (value: T) => string;
}

/** The environment variable of `setting` in the table under `key`. */
export function environmentName(key: string, { env }: Pick<Setting<unknown>, "env">): string {
  return env ?? `REMORA_${key.replace(/([a-z0-9])([A-Z])/g, "$1_$2").toUpperCase()}`;
}

interface Kind<T> {
  readonly allowed: string;
  readonly parse: (text: string) => T;
  /** Absent for a grammar that does not say how values are written; then the default is not checked. */
  readonly format?: (value: T) => string;
  readonly isSecret?: boolean;
  readonly isList?: boolean;
}

function make<T>(spec: Common & { readonly default?: T | null }, kind: Kind<T>): Setting<T | null> {
  const validator = makeExactValidator<T | null>((raw) => {
    if (raw.length > MAX_TEXT_LENGTH) throw new RangeError(`longer than ${MAX_TEXT_LENGTH} characters`);
    if (raw === "" && kind.isList !== true) throw new RangeError("empty");
    if (CONTROL_CHARACTER.test(raw)) throw new RangeError("it contains control characters");
    return kind.parse(raw);
  });
  const fallback = spec.default;
  const format = kind.format ?? String;
  if (fallback !== undefined && fallback !== null && kind.format !== undefined && format(fallback) !== "") kind.parse(format(fallback));
  return Object.freeze({
    env: spec.name ?? null,
    doc: spec.doc,
    allowed: kind.allowed,
    defaultText: fallback === undefined ? null : fallback === null ? "" : format(fallback),
    isSecret: kind.isSecret === true,
    emptyIsDefault: kind.isSecret !== true && (fallback === null || fallback === ""),
    // envalid takes a null default as given ("default" in spec), though its types do not say so.
    spec: (fallback === undefined ? validator() : validator({ default: fallback as T & {} })) as ValidatorSpec<T | null>,
  });
}

function textParser({ pattern }: TextRules): (raw: string) => string {
  return (raw) => {
    if (pattern !== undefined && !pattern.test(raw)) throw new RangeError("");
    return raw;
  };
}

function text(spec: Common & TextRules & { readonly default?: string | null }) {
  return make(spec, { allowed: spec.allowed ?? "text", parse: textParser(spec), format: String });
}

function secret(spec: Common & { readonly default?: null }) {
  return make<Secret>(spec, { allowed: "a secret text", parse: (raw) => new Secret(raw), isSecret: true });
}

function choice<T extends string>(spec: Common & { readonly default?: T | null; readonly values: readonly T[] }) {
  const isOne = (raw: string): raw is T => spec.values.some((value) => value === raw);
  const parse = (raw: string): T => {
    if (isOne(raw)) return raw;
    const nearest = nearestName(raw, spec.values);
    throw new RangeError(nearest === null ? "" : `did you mean ${nearest}?`);
  };
  return make(spec, {
    allowed: spec.values.length === 1 ? `${spec.values[0]}` : `one of ${spec.values.join(", ")}`,
    parse,
    format: String,
  });
}

function flag(spec: Common & { readonly default?: boolean | null }) {
  const parse = (raw: string) => {
    if (raw === "true") return true;
    if (raw === "false") return false;
    throw new RangeError("");
  };
  return make(spec, { allowed: "true or false", parse, format: String });
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
  return make(spec, { allowed, parse, format: String });
}

function integer(spec: Common & Bounds & { readonly default?: number | null }) {
  return numeric("a whole number", /^-?[0-9]{1,16}$/, spec);
}

function number(spec: Common & Bounds & { readonly default?: number | null }) {
  return numeric("a number", /^-?[0-9]{1,16}(?:\.[0-9]{1,16})?$/, spec);
}

function port(spec: Common & { readonly default?: number | null }) {
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
  return make<number>(typed === undefined ? rest : { ...rest, default: typed }, {
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

function duration(spec: Common & TextBounds & { readonly default?: string | number | null }) {
  return measured({ form: DURATION_FORM, parse: parseDurationMs, format: formatDuration }, spec);
}

function size(spec: Common & TextBounds & { readonly default?: string | number | null }) {
  return measured({ form: SIZE_FORM, parse: parseSizeBytes, format: formatSize }, spec);
}

function ip(spec: Common & { readonly default?: string | null }) {
  const parse = (raw: string) => {
    if (isIP(raw) === 0) throw new RangeError("");
    return raw;
  };
  return make(spec, { allowed: "an IPv4 or IPv6 address", parse, format: String });
}

function list(spec: Common & TextRules & { readonly default?: readonly string[] }) {
  const parseItem = textParser(spec);
  const parse = (raw: string): readonly string[] => {
    const items = raw === "" ? [] : raw.split(",").map((item) => item.trim());
    if (items.includes("")) throw new RangeError("an item is empty");
    if (items.length > MAX_LIST_LENGTH) throw new RangeError(`more than ${MAX_LIST_LENGTH} items`);
    return Object.freeze(items.map(parseItem));
  };
  const allowed = spec.allowed ?? "items separated by commas";
  return make<readonly string[]>(spec, { allowed, parse, format: (items) => items.join(","), isList: true });
}

function parsed<T>(spec: Common & Grammar<T> & { readonly default?: T | null }) {
  return make<T>(spec, { allowed: spec.allowed, parse: spec.parse, ...(spec.format === undefined ? {} : { format: spec.format }) });
}

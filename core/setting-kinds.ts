// The kinds of settings: `setting.text`, `setting.choice`, `setting.duration`, … Each says how one text becomes one value and what is allowed.
import { isIP } from "node:net";
import { nearestName } from "./nearest.ts";
import { Secret } from "./secret.ts";
import { type Common, declareSetting, type Optional, type Required, type Setting } from "./setting.ts";
import { type Bounds, duration, integer, number, port, size, type TextBounds } from "./setting-numbers.ts";

const MAX_LIST_LENGTH = 10_000;

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

function textParser({ pattern }: TextRules): (raw: string) => string {
  return (raw) => {
    if (pattern !== undefined && !pattern.test(raw)) throw new RangeError("");
    return raw;
  };
}

function text(spec: Common & TextRules & { readonly default?: string | null }) {
  return declareSetting(spec, { allowed: spec.allowed ?? "text", parse: textParser(spec), format: String });
}

function secret(spec: Common & { readonly default?: null }) {
  return declareSetting<Secret>(spec, { allowed: "a secret text", parse: (raw) => new Secret(raw), isSecret: true });
}

function choice<T extends string>(spec: Common & { readonly default?: T | null; readonly values: readonly T[] }) {
  const isOne = (raw: string): raw is T => spec.values.some((value) => value === raw);
  const parse = (raw: string): T => {
    if (isOne(raw)) return raw;
    const nearest = nearestName(raw, spec.values);
    throw new RangeError(nearest === null ? "" : `did you mean ${nearest}?`);
  };
  return declareSetting(spec, {
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
  return declareSetting(spec, { allowed: "true or false", parse, format: String });
}

function ip(spec: Common & { readonly default?: string | null }) {
  const parse = (raw: string) => {
    if (isIP(raw) === 0) throw new RangeError("");
    return raw;
  };
  return declareSetting(spec, { allowed: "an IPv4 or IPv6 address", parse, format: String });
}

function list(spec: Common & TextRules & { readonly default?: readonly string[] }) {
  const parseItem = textParser(spec);
  const parse = (raw: string): readonly string[] => {
    const items = raw === "" ? [] : raw.split(",").map((item) => item.trim());
    if (items.includes("")) throw new RangeError("an item is empty");
    if (items.length > MAX_LIST_LENGTH) throw new RangeError(`more than ${MAX_LIST_LENGTH} items`);
    return Object.freeze(items.map((item) => namingItem(item, parseItem)));
  };
  const allowed = spec.allowed ?? "items separated by commas";
  return declareSetting<readonly string[]>(spec, { allowed, parse, format: (items) => items.join(","), isList: true });
}

function namingItem(item: string, parse: (raw: string) => string): string {
  try {
    return parse(item);
  } catch {
    throw new RangeError(`not "${item.slice(0, 40)}"`);
  }
}

function parsed<T>(spec: Common & Grammar<T> & { readonly default?: T | null }) {
  return declareSetting<T>(spec, {
    allowed: spec.allowed,
    parse: spec.parse,
    ...(spec.format === undefined ? {} : { format: spec.format }),
  });
}

// What a setting is, whatever its kind: name, meaning, default, what is allowed, and the envalid validator that reads it. The kinds are in
// setting-kinds.ts; tables of settings are read by config.ts.
import { makeExactValidator, type ValidatorSpec } from "envalid";

const MAX_TEXT_LENGTH = 64 * 1024;
const CONTROL_CHARACTER = /\p{Cc}/u;

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

/** What every kind is told. */
export interface Common {
  /** Environment variable, when it is not the table's key in capitals. */
  readonly name?: string;
  /** One sentence for the README. */
  readonly doc: string;
}
/** A setting with a default, or that must be given. */
export interface Required<T> extends Common {
  /** Taken when the variable is not set. Without a default the setting is required. */
  readonly default?: T;
}
/** A setting that may be absent: its value is then null. */
export interface Optional extends Common {
  readonly default: null;
}
/** How one kind reads and writes its text. */
export interface Kind<T> {
  readonly allowed: string;
  /** Throws an Error whose message, if any, is added to what is allowed. */
  readonly parse: (text: string) => T;
  /** Absent for a grammar that does not say how values are written; then the default is not checked. */
  readonly format?: (value: T) => string;
  readonly isSecret?: boolean;
  /** Empty text is a value. */
  readonly isList?: boolean;
}

/** The environment variable of `setting` in the table under `key`. */
export function environmentName(key: string, { env }: Pick<Setting<unknown>, "env">): string {
  return env ?? `REMORA_${key.replace(/([a-z0-9])([A-Z])/g, "$1_$2").toUpperCase()}`;
}

/** Makes a setting. A default that `kind` itself would refuse raises its error: a mistake of the programmer. */
export function declareSetting<T>(spec: Common & { readonly default?: T | null }, kind: Kind<T>): Setting<T | null> {
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

// Reading one object of the platform's file field by field: every mistake is noted with its path and reading goes on, so that all are told at once.
import { DURATION_FORM, parseDurationMs } from "../../core/duration.ts";
import { nearestName } from "../../core/nearest.ts";
import { PERCENTAGE_FORM, parsePercentage } from "../../core/percentage.ts";

const NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
// Semantic Versioning 2.0.0, without build metadata, which an image's tag cannot hold.
const VERSION = /^(?:0|[1-9][0-9]{0,8})(?:\.(?:0|[1-9][0-9]{0,8})){2}(?:-[0-9A-Za-z.-]{1,64})?$/;
const PATTERN = /^[A-Za-z0-9*._/:@-]{1,512}$/;
const INSTANT = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?Z$/;
const MAX_ITEMS = 1_000;
const MAX_COUNT = 1_000_000;
/** Longest sentence that is read. */
export const MAX_SENTENCE = 1_000;
const SHOWN_LENGTH = 100;

/** Reads the fields of one object. What is wrong is noted and read as absent (null). */
export interface FieldReader {
  choice<const Word extends string>(key: string, words: readonly Word[]): Word | null;
  /** A list of such words; empty when absent. */
  choices<const Word extends string>(key: string, words: readonly Word[]): readonly Word[];
  flag(key: string): boolean | null;
  /** A name of at most 63 lower case letters, digits and hyphens. */
  name(key: string): string | null;
  version(key: string): string | null;
  pattern(key: string): string | null;
  patterns(key: string): readonly string[] | null;
  /** A percentage with its sign, as 0..100. */
  percent(key: string): number | null;
  /** A percentage with its sign, as 0..1. */
  ratio(key: string): number | null;
  /** In milliseconds. */
  duration(key: string): number | null;
  /** A whole number from 1 to a million. */
  count(key: string): number | null;
  /** ISO 8601 in UTC, to the second or finer. */
  instant(key: string): string | null;
  /** One line of at most {@link MAX_SENTENCE} characters. */
  sentence(key: string): string | null;
  /** An object; one without fields when absent. */
  object(key: string): FieldReader;
  optionalObject(key: string): FieldReader | null;
  list<T>(key: string, max: number, read: (item: FieldReader) => T): readonly T[];
  /** An object whose keys are names of the user's own. */
  map<T>(key: string, read: (fields: FieldReader, key: string) => T | null): ReadonlyMap<string, T>;
  /** Notes that `key` is missing when it is; gives `value`. */
  required<T>(key: string, value: T | null): T | null;
  /** Notes every key that nobody asked for. */
  end(): void;
}

/** Starts reading `value`, which stands at `path` ("" for the file itself). */
export function readFields(value: unknown, path: string, mistakes: string[]): FieldReader {
  const isGiven = typeof value === "object" && value !== null && !Array.isArray(value);
  if (!isGiven) mistakes.push(`${path === "" ? "the file" : path}: ${shown(value)} is not an object`);
  const fields = (isGiven ? value : {}) as Readonly<Record<string, unknown>>;
  const asked = new Set<string>();

  const at = (key: string) => (path === "" ? key : `${path}.${key}`);
  const get = (key: string): unknown => {
    asked.add(key);
    return Object.hasOwn(fields, key) ? (fields[key] ?? undefined) : undefined;
  };

  /** One text, read by `parse`, which gives null for what is not `allowed`. */
  function text<T>(key: string, allowed: string, parse: (given: string) => T | null): T | null {
    const given = get(key);
    return given === undefined ? null : item(given, at(key), allowed, parse);
  }

  function item<T>(given: unknown, place: string, allowed: string, parse: (given: string) => T | null): T | null {
    const parsed = typeof given === "string" ? parse(given) : null;
    if (parsed === null) mistakes.push(`${place}: ${shown(given)} is not allowed; allowed: ${allowed}`);
    return parsed;
  }

  function items<T>(key: string, allowed: string, parse: (given: string) => T | null): readonly T[] | null {
    const given = get(key);
    if (given === undefined) return null;
    if (!Array.isArray(given) || given.length > MAX_ITEMS) {
      mistakes.push(`${at(key)}: ${shown(given)} is not a list of at most ${MAX_ITEMS}; allowed: ${allowed}`);
      return null;
    }
    return given.flatMap((one: unknown, index) => {
      const parsed = item(one, `${at(key)}[${index}]`, allowed, parse);
      return parsed === null ? [] : [parsed];
    });
  }

  const matching = (form: RegExp) => (given: string) => (form.test(given) ? given : null);
  const oneOf =
    <Word extends string>(words: readonly Word[]) =>
    (given: string) =>
      words.find((word) => word === given) ?? null;

  const reader: FieldReader = {
    choice: (key, words) => text(key, words.join(", "), oneOf(words)),
    choices: (key, words) => items(key, words.join(", "), oneOf(words)) ?? [],
    flag(key) {
      const given = get(key);
      if (given === undefined || typeof given === "boolean") return given ?? null;
      mistakes.push(`${at(key)}: ${shown(given)} is not allowed; allowed: true, false`);
      return null;
    },
    name: (key) => text(key, "a name of at most 63 lower case letters, digits and hyphens", matching(NAME)),
    version: (key) => text(key, 'a version such as "1.4.0" or "1.5.0-rc.1"', matching(VERSION)),
    pattern: (key) => text(key, "a text in which * stands for any text", matching(PATTERN)),
    patterns: (key) => items(key, "texts in which * stands for any text", matching(PATTERN)),
    percent: (key) => text(key, PERCENTAGE_FORM, (given) => orNull(() => Number((parsePercentage(given) * 100).toFixed(3)))),
    ratio: (key) => text(key, PERCENTAGE_FORM, (given) => orNull(() => parsePercentage(given))),
    duration: (key) => text(key, DURATION_FORM, (given) => orNull(() => parseDurationMs(given))),
    count(key) {
      const given = get(key);
      if (given === undefined) return null;
      if (typeof given === "number" && Number.isInteger(given) && given >= 1 && given <= MAX_COUNT) return given;
      mistakes.push(`${at(key)}: ${shown(given)} is not allowed; allowed: a whole number from 1 to ${MAX_COUNT}`);
      return null;
    },
    instant: (key) =>
      text(key, 'an instant in UTC such as "2026-01-31T12:00:00Z"', (given) =>
        INSTANT.test(given) && !Number.isNaN(Date.parse(given)) ? given : null,
      ),
    sentence: (key) =>
      text(key, `one line of at most ${MAX_SENTENCE} characters`, (given) =>
        given !== "" && given.length <= MAX_SENTENCE && !/[\r\n]/.test(given) ? given : null,
      ),
    object: (key) => readFields(get(key) ?? {}, at(key), mistakes),
    optionalObject(key) {
      const given = get(key);
      return given === undefined ? null : readFields(given, at(key), mistakes);
    },
    list(key, max, read) {
      const given = get(key) ?? [];
      if (Array.isArray(given) && given.length <= max) {
        return given.map((one: unknown, index) => read(readFields(one, `${at(key)}[${index}]`, mistakes)));
      }
      mistakes.push(`${at(key)}: ${shown(given)} is not a list of at most ${max}`);
      return [];
    },
    map(key, read) {
      const inner = get(key) ?? {};
      const found = new Map();
      const own = readFields(inner, at(key), mistakes);
      if (typeof inner !== "object" || Array.isArray(inner)) return found;
      for (const name of Object.keys(inner)) {
        if (!NAME.test(name)) {
          mistakes.push(`${at(key)}: ${shown(name)} is not a name of at most 63 lower case letters, digits and hyphens`);
          continue;
        }
        const value = own.required(name, read(own, name));
        if (value !== null) found.set(name, value);
      }
      return found;
    },
    required(key, value) {
      if (value === null && get(key) === undefined) mistakes.push(`${at(key)}: is missing`);
      return value;
    },
    end() {
      for (const key of Object.keys(fields)) {
        if (asked.has(key)) continue;
        const nearest = nearestName(key.slice(0, SHOWN_LENGTH), [...asked]);
        mistakes.push(`${at(shown(key))}: is unknown${nearest === null ? "" : `; did you mean ${nearest}?`}`);
      }
    },
  };
  return reader;
}

function orNull<T>(parse: () => T): T | null {
  try {
    return parse();
  } catch {
    return null;
  }
}

function shown(value: unknown): string {
  const printed = value === undefined ? "nothing" : JSON.stringify(value);
  return printed.length <= SHOWN_LENGTH ? printed : `${printed.slice(0, SHOWN_LENGTH)}…`;
}

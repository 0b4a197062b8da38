// Settings from the environment (style 8 and 18): one declared table per component, read by envalid into one frozen object. All mistakes
// are reported at once, each with the value (never a secret's), what is allowed, and the name that was probably meant. How one value is read
// is in setting-kinds.ts; the README's tables come from settings-markdown.ts.
import { customCleanEnv, EnvMissingError } from "envalid";
import { ConfigError } from "./errors.ts";
import { nearestName } from "./nearest.ts";
import { withoutServiceLinks } from "./service-links.ts";
import { environmentName, type Setting } from "./setting.ts";

export { environmentName, type Setting } from "./setting.ts";
export { setting } from "./setting-kinds.ts";
export { settingsMarkdown } from "./settings-markdown.ts";

const PREFIX = "REMORA_";
const MAX_SHOWN_CHARACTERS = 80;
const MAX_DETAIL_CHARACTERS = 300;

/** The settings of one component by camelCase key. `maxInflight` is read from `REMORA_MAX_INFLIGHT` unless the setting is named otherwise. */
export type SettingsTable = Readonly<Record<string, Setting<unknown>>>;

/** What {@link loadConfig} gives for a table. */
export type Values<Table extends SettingsTable> = { readonly [Key in keyof Table]: Table[Key] extends Setting<infer T> ? T : never };

/** An environment, as in `process.env`. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Reads every setting of `table` from `env` and gives one frozen object. Durations are milliseconds, sizes bytes, secrets {@link Secret}s.
 *
 * An empty value is a mistake, except where "none" is a legal value: lists, and settings other than secrets whose default is null or "".
 * `REMORA_*` names outside the table are mistakes too, unless in `alsoKnown` (names that the same environment carries for other components) or
 * made by Kubernetes for a Service called `remora-…`.
 *
 * Raises `ConfigError("invalid_settings")` whose message has one line per mistake.
 */
export function loadConfig<const Table extends SettingsTable>(
  component: string,
  table: Table,
  env: Environment,
  options: { readonly alsoKnown?: readonly string[] } = {},
): Readonly<Values<Table>> {
  const settings = Object.entries(table).map(([key, setting]) => ({ key, setting, name: environmentName(key, setting) }));
  const given = withoutServiceLinks(env);
  const mistakes = unknownNames(
    given,
    settings.map(({ name }) => name),
    options.alsoKnown ?? [],
  );
  const present = Object.fromEntries(
    settings.flatMap(({ name, setting }) => {
      const text = given[name]?.trim();
      return text === undefined || (text === "" && setting.emptyIsDefault) ? [] : [[name, text]];
    }),
  );
  const specs = Object.fromEntries(settings.map(({ name, setting }) => [name, setting.spec]));

  const values = customCleanEnv(present, specs, (cleaned) => cleaned as Readonly<Record<string, unknown>>, {
    reporter: ({ errors }) => {
      for (const { name, setting } of settings) {
        const error = errors[name];
        if (error !== undefined) mistakes.push(describe(name, setting, present[name], error));
      }
      if (mistakes.length > 0) throw invalidSettings(component, mistakes);
    },
  });
  // The table's own types say what each spec parses to.
  return Object.freeze(Object.fromEntries(settings.map(({ key, name }) => [key, values[name]]))) as Readonly<Values<Table>>;
}

function unknownNames(env: Environment, known: readonly string[], alsoKnown: readonly string[]): string[] {
  const allowed = new Set([...known, ...alsoKnown]);
  const unknown = Object.keys(env).filter((name) => name.startsWith(PREFIX) && !allowed.has(name));
  return unknown.sort().map((name) => {
    const nearest = nearestName(name, known);
    return `${printable(name)} is not a setting here${nearest === null ? "" : `; did you mean ${nearest}?`}`;
  });
}

function describe(name: string, setting: Setting<unknown>, text: string | undefined, error: Error): string {
  if (text === undefined || error instanceof EnvMissingError) return `${name} is missing: expected ${setting.allowed} (${setting.doc})`;
  if (text === "") return `${name} is set but empty: expected ${setting.allowed}`;
  const shown = setting.isSecret ? "[redacted]" : JSON.stringify(printable(text));
  const detail = error.message === "" || setting.isSecret ? "" : ` (${printable(error.message, MAX_DETAIL_CHARACTERS)})`;
  return `${name}=${shown} is not valid: expected ${setting.allowed}${detail}`;
}

function invalidSettings(component: string, mistakes: readonly string[]): ConfigError {
  const count = mistakes.length === 1 ? "1 mistake" : `${mistakes.length} mistakes`;
  const lines = mistakes.map((mistake) => `  ${mistake}`).join("\n");
  return new ConfigError("invalid_settings", `${count} in the settings of ${component}:\n${lines}`, { fields: { component, mistakes } });
}

function printable(text: string, maxCharacters = MAX_SHOWN_CHARACTERS): string {
  const clean = text.replace(/\p{C}/gu, "\u{fffd}");
  return clean.length > maxCharacters ? `${clean.slice(0, maxCharacters)}…` : clean;
}

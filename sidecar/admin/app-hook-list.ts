// REMORA_HOOKS: the app's http lifecycle hooks as the injector hands them over, as JSON. Owns their form; running them is app-hooks.ts.
import { type Ask, parseAsk, parseEntries } from "./app-ask.ts";

const KINDS = ["postStart", "preStop"] as const;
/** Long enough that nobody guesses it, and nothing that a path would have to escape. */
const TOKEN = /^[A-Za-z0-9_-]{16,128}$/;

/** One hook of one container. */
export interface AppHook {
  /** `<container>/<kind>` */
  readonly name: string;
  readonly ask: Extract<Ask, { kind: "http" }>;
  /** The last part of the path under which the kubelet asks. */
  readonly token: string;
}

/** Reads the list. Throws `ConfigError("invalid_value")` naming the entry that is wrong. */
export function parseAppHooks(json: string): readonly AppHook[] {
  return parseEntries("REMORA_HOOKS", json, KINDS).map(({ container, kind, fields, mistake }) => {
    const ask = parseAsk(fields, mistake);
    if (ask.kind !== "http") throw mistake("httpGet is expected");
    const { token } = fields;
    if (typeof token !== "string" || !TOKEN.test(token)) throw mistake("token must be 16 to 128 letters, digits, _ and -");
    return { name: `${container}/${kind}`, ask, token };
  });
}

// REMORA_PROBES: the app's own probes as the injector hands them over, as JSON. Owns their form; running them is app-probes.ts.
import { type Ask, parseAsk, parseEntries } from "./app-ask.ts";

const KINDS = ["liveness", "readiness", "startup"] as const;
const MAX_TIMEOUT_S = 3600;

/** One probe of one container. */
export interface AppProbe {
  /** `<container>/<kind>` */
  readonly name: string;
  readonly ask: Ask;
  readonly timeoutMs: number;
}

/** Reads the list. Throws `ConfigError("invalid_value")` naming the entry that is wrong. */
export function parseAppProbes(json: string): readonly AppProbe[] {
  return parseEntries("REMORA_PROBES", json, KINDS).map(({ container, kind, fields, mistake }) => {
    const timeoutSeconds = fields["timeoutSeconds"] ?? 1;
    if (typeof timeoutSeconds !== "number" || !(timeoutSeconds > 0 && timeoutSeconds <= MAX_TIMEOUT_S)) {
      throw mistake(`timeoutSeconds must be above 0 and at most ${MAX_TIMEOUT_S}`);
    }
    return { name: `${container}/${kind}`, ask: parseAsk(fields, mistake), timeoutMs: timeoutSeconds * 1000 };
  });
}

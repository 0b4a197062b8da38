// `npm run bench -- micro [NAME…]`: the twins of the hot files, one table each.
import { cases as authority } from "./authority.ts";
import { cases as balancer } from "./balancer.ts";
import { cases as canonicalPath } from "./canonical-path.ts";
import { cases as headerHygiene } from "./header-hygiene.ts";
import { type Cases, measure } from "./measure.ts";
import { cases as rateLimit } from "./rate-limit.ts";
import { cases as signing } from "./signing.ts";
import { cases as workers } from "./workers.ts";

const TWINS: Readonly<Record<string, () => Cases>> = {
  "rate-limit": rateLimit,
  authority,
  balancer,
  "canonical-path": canonicalPath,
  "header-hygiene": headerHygiene,
  signing,
  workers,
};

/** Runs the named twins, or all; returns false when a name is unknown. */
export function runMicro(names: readonly string[]): boolean {
  const chosen = names.length === 0 ? Object.keys(TWINS) : names;
  const unknown = chosen.filter((name) => TWINS[name] === undefined);
  if (unknown.length > 0) {
    process.stderr.write(`unknown: ${unknown.join(", ")}; there are ${Object.keys(TWINS).join(", ")}\n`);
    return false;
  }
  for (const name of chosen) {
    process.stdout.write(`\n${name}\n`);
    for (const timing of measure(TWINS[name]?.() ?? {})) {
      process.stdout.write(`  ${timing.name.padEnd(30)} ${timing.nsPerCall.toFixed(timing.nsPerCall < 100 ? 1 : 0).padStart(8)} ns\n`);
    }
  }
  return true;
}

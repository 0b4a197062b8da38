// `npm run bench -- micro [NAME…]`: the twins of the hot files, one table each.
import { cases as authority } from "./authority.ts";
import { cases as balancer } from "./balancer.ts";
import { cases as canonicalPath } from "./canonical-path.ts";
import { cases as fieldKind } from "./field-kind.ts";
import { cases as headerHygiene } from "./header-hygiene.ts";
import { cases as hpack } from "./hpack.ts";
import { cases as http1Bodies } from "./http1-bodies.ts";
import { cases as http1Heads } from "./http1-heads.ts";
import { cases as http2Frames } from "./http2-frames.ts";
import { type Cases, measure } from "./measure.ts";
import { cases as observer } from "./observer.ts";
import { cases as outgoing } from "./outgoing.ts";
import { cases as rateLimit } from "./rate-limit.ts";
import { cases as requestId } from "./request-id.ts";
import { cases as signing } from "./signing.ts";
import { cases as traceContext } from "./trace-context.ts";
import { cases as workers } from "./workers.ts";

const TWINS: Readonly<Record<string, () => Cases>> = {
  "rate-limit": rateLimit,
  authority,
  balancer,
  "canonical-path": canonicalPath,
  "field-kind": fieldKind,
  "header-hygiene": headerHygiene,
  hpack,
  "http1-heads": http1Heads,
  "http1-bodies": http1Bodies,
  "http2-frames": http2Frames,
  outgoing,
  observer,
  "request-id": requestId,
  "trace-context": traceContext,
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

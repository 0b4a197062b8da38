// What must hold when all peers have left: every exchange finished exactly once, nothing of theirs is left, and memory is where it was.
import type { Clients } from "./clients.ts";
import type { Control } from "./control.ts";
import { mib, type Sample, slopePerMinute } from "./sample.ts";

/** Until then memory may grow: code is compiled, pools and buffers reach their size. */
export const WARM_SECONDS = 120;
/** Private memory at the end, after everybody left, may be this much above that of the end of the warm-up: what malloc has not given back yet. */
const END_SLACK_BYTES = 4 * 1024 * 1024;
/** Slopes while the load goes on, per minute. A leak of one exchange in a hundred would show in the heap with more. */
const HEAP_SLOPE_BYTES = 128 * 1024;
const PRIVATE_SLOPE_BYTES = 512 * 1024;
/** Samples after the warm-up that a line can be put through. */
const MIN_SAMPLES = 12;

/** Everything that was seen. */
export interface Findings {
  readonly start: Sample;
  readonly loaded: readonly Sample[];
  /** The clients have left, the app has not: what is half-closed or silent on its side is still there. */
  readonly alone: Sample;
  readonly end: Sample;
  readonly clients: Clients;
  readonly control: Control;
}

/** Sentences on what does not hold; none when all is well. */
export function flawsOf(findings: Findings): string[] {
  const { start, alone, end, clients, control } = findings;
  const flaws = [
    unequal("exchanges in flight whose clients had left", alone.look.begun - alone.look.finished, 0),
    unequal("exchanges that finished", end.look.finished, end.look.begun),
    unequal("exchanges that finished twice", end.look.finishedTwice, 0),
    unequal("exchanges counted in flight", end.look.inFlight, 0),
    ...leftoversOf(start, end),
    ...clients.mixUps.slice(0, 10),
    ...control.failures.slice(0, 10).map((failure) => `control traffic: ${failure}`),
    ...memoryFlaws(findings),
  ].filter((flaw) => flaw !== null);
  if (control.good === 0) flaws.push("no control exchange was made");
  return flaws;
}

/** Sentences on what a process holds that it did not hold at the start; none when all is back. */
export function leftoversOf(start: Sample, now: Sample): string[] {
  return [
    unequal("pooled and other connections", now.view.connections.length, 0),
    unequal("TCPSocketWrap", now.look.resources["TCPSocketWrap"] ?? 0, start.look.resources["TCPSocketWrap"] ?? 0),
    unequal("TLSWrap", now.look.resources["TLSWrap"] ?? 0, 0),
    unequal("open files", now.view.openFiles, start.view.openFiles),
    unequal("timers", now.look.timers, start.look.timers),
  ].filter((leftover) => leftover !== null);
}

function unequal(what: string, seen: number, expected: number): string | null {
  return seen === expected ? null : `${what}: ${seen}, must be ${expected}`;
}

/** Samples after the warm-up; none when the run was too short for them to say something. */
function warmSamples({ loaded }: Findings): readonly Sample[] {
  const warm = loaded.filter(({ atSeconds }) => atSeconds >= WARM_SECONDS);
  return warm.length < MIN_SAMPLES ? [] : warm;
}

function memoryFlaws(findings: Findings): string[] {
  const warm = warmSamples(findings);
  const [first] = warm;
  if (first === undefined) return [];
  const bound = first.view.privateBytes + END_SLACK_BYTES;
  const flaws: string[] = [];
  if (findings.end.view.privateBytes > bound)
    flaws.push(`private memory: ${mib(findings.end.view.privateBytes)} at the end, may be ${mib(bound)}`);
  for (const { what, of, perMinute } of SLOPES) {
    const slope = slopePerMinute(warm, of);
    if (slope > perMinute) flaws.push(`${what}: grows by ${mib(slope)} a minute, may by ${mib(perMinute)}`);
  }
  return flaws;
}

const SLOPES = [
  { what: "private memory", of: ({ view }: Sample) => view.privateBytes, perMinute: PRIVATE_SLOPE_BYTES },
  { what: "heap", of: ({ look }: Sample) => look.heapUsedBytes, perMinute: HEAP_SLOPE_BYTES },
];

/** What is said at the end, whatever the verdict. */
export function summaryOf(findings: Findings): string[] {
  const { start, end, clients, control } = findings;
  const warm = warmSamples(findings);
  const refused = Object.entries(end.look.refused).map(([reason, count]) => `${reason} ${count}`);
  return [
    `${end.look.begun} exchanges begun, ${end.look.finished} finished; ${clients.connections} hostile connections; ended by a refusal: ${refused.join(", ")}`,
    `control traffic: ${control.good} as ordered, ${control.failures.length} failed, ${control.excused} while the app was down, ${control.starved} while there was no CPU`,
    `private memory: ${mib(start.view.privateBytes)} at the start, ${mib(end.view.privateBytes)} at the end; heap: ${mib(start.look.heapUsedBytes)}, ${mib(end.look.heapUsedBytes)}`,
    ...(warm.length === 0
      ? ["too short a run to judge its memory"]
      : SLOPES.map(({ what, of }) => {
          const values = warm.map(of);
          return `${what} from ${WARM_SECONDS} s on: ${mib(Math.min(...values))} to ${mib(Math.max(...values))}, line through ${warm.length} samples: ${mib(slopePerMinute(warm, of))} a minute`;
        })),
  ];
}

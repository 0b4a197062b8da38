// The result as people read it: design 12's table, measured, and the combinations that are not in it with their reason.
import type { Outcome } from "./scene.ts";

/** Combinations of fault and target that make no row. */
export const LEFT_OUT: readonly (readonly [what: string, why: string])[] = [
  ["full disk × app", "what an app writes is its own affair; its sidecar has a row"],
  ["no descriptors × Redis", "the registry holds two connections to it for good; a Redis that refuses new ones is a Redis that is away"],
  ["Redis failover × sidecar, registry, CA, app", "only Redis fails over; what the others see of it is its row"],
  ["clock step × app", "nothing of the mesh reads an app's clock"],
  ["slow control plane × app", "an app is no control plane; a slow one is the delay of its link, a still one its SIGSTOP"],
  ["corrupted file × app", "it keeps nothing for the mesh"],
];

const HEAD = ["fault", "done to", "sent", "failed", "longest gap", "recovered", "promised", "held"];

/** One row as it is printed when it has been played. */
export function lineOf({ fault, figures, recoverMs, took, broken }: Outcome): string {
  const { sent, failed, longestGapMs } = figures;
  return row([
    fault.kind,
    `${fault.target}${fault.what === "" ? "" : `: ${fault.what}`}${fault.store === "memory" ? " (memory)" : ""}`,
    String(sent),
    String(failed),
    `${longestGapMs} ms`,
    [`${recoverMs} ms`, ...took].join("; "),
    fault.promise,
    broken.length === 0 ? "yes" : "NO",
  ]);
}

/** The first two lines. */
export function headOf(): string {
  return `${row(HEAD)}\n${row(HEAD.map(() => "---"))}`;
}

/** What is not in the table. */
export function leftOut(): string {
  return LEFT_OUT.map(([what, why]) => `not played: ${what}: ${why}`).join("\n");
}

function row(cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |`;
}

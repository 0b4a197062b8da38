// How long to wait before the next try: doubling, bounded, with jitter, so that a thousand sidecars do not knock on a control plane that
// just came back at the same instant.

/** Waits of one kind of retry. */
export interface BackoffLimits {
  readonly firstMs: number;
  readonly maxMs: number;
}

/** While there is no certificate yet: nothing works before, so knock often. */
export const STARTING: BackoffLimits = { firstMs: 250, maxMs: 10_000 };
/** Renewals and streams: what is held still works. */
export const RUNNING: BackoffLimits = { firstMs: 1000, maxMs: 60_000 };

/** Share of what is left of a certificate that the wait for another try to renew it may take: there are several before it ends, however long the CA was away. */
const LEFT_RATIO = 1 / 8;

/** Waits between tries to renew a certificate that ends in `leftMs`; 0 or less: it has ended, and nothing works until there is another. */
export function renewalLimits(leftMs: number): BackoffLimits {
  if (leftMs <= 0) return STARTING;
  return { firstMs: RUNNING.firstMs, maxMs: Math.min(RUNNING.maxMs, Math.max(leftMs * LEFT_RATIO, STARTING.firstMs)) };
}

/** Wait before try number `failures` + 1, ms: half of the doubled step plus up to the other half. `random` gives 0..1. */
export function backoffMs(failures: number, limits: BackoffLimits, random: () => number): number {
  const step = Math.min(limits.firstMs * 2 ** Math.min(failures - 1, 30), limits.maxMs);
  return step / 2 + (step / 2) * random();
}

/** As {@link backoffMs}, and not before the control plane wants to be asked again: `waitMs`, plus up to half of it, so that those who were told the same come apart. */
export function pushedBackMs(waitMs: number, failures: number, limits: BackoffLimits, random: () => number): number {
  return Math.max(waitMs * (1 + random() / 2), backoffMs(failures, limits, random));
}

// Durations as text: the only form accepted at the edge, because a bare number hides its unit (style 8). Inside, milliseconds.

const UNITS_MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const FORM = /^([0-9]{1,15}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)$/;
const MAX_MS = 100 * 365 * UNITS_MS.d;

/** What {@link parseDurationMs} accepts, for messages. */
export const DURATION_FORM = 'a number with a unit: "250ms", "5s", "1m", "2h" or "1d"';

/**
 * Reads a duration such as `250ms`, `1.5s`, `5m`, `2h` or `1d`; gives whole milliseconds, 0 to 100 years.
 * Raises `RangeError` when the unit is missing or unknown, or the number is not one.
 */
export function parseDurationMs(text: string): number {
  const match = FORM.exec(text);
  if (match === null) {
    const why = /^[0-9.]+$/.test(text) ? `"${text}" has no unit` : `"${text.slice(0, 100)}" is not a duration`;
    throw new RangeError(`${why}: expected ${DURATION_FORM}`);
  }
  const [, amount, unit] = match as unknown as [string, string, keyof typeof UNITS_MS];
  const ms = Math.round(Number(amount) * UNITS_MS[unit]);
  if (ms > MAX_MS) throw new RangeError(`"${text}" is longer than 100 years`);
  return ms;
}

/** Writes a duration in the largest unit that keeps it whole; `parseDurationMs` reads it back. `ms` is a whole number ≥ 0. */
export function formatDuration(ms: number): string {
  if (!Number.isSafeInteger(ms) || ms < 0) throw new RangeError(`not a whole number of milliseconds: ${ms}`);
  for (const unit of ["d", "h", "m", "s"] as const) {
    if (ms !== 0 && ms % UNITS_MS[unit] === 0) return `${ms / UNITS_MS[unit]}${unit}`;
  }
  return `${ms}ms`;
}

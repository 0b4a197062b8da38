// Sizes as text: the only form accepted at the edge, because a bare number hides its unit (style 8). Inside, bytes. Binary units only:
// what is counted here is memory and files.

const UNITS_BYTES = { B: 1, Ki: 1024, KiB: 1024, Mi: 1024 ** 2, MiB: 1024 ** 2, Gi: 1024 ** 3, GiB: 1024 ** 3 } as const;
const FORM = /^([0-9]{1,15}(?:\.[0-9]{1,9})?)(B|KiB|Ki|MiB|Mi|GiB|Gi)$/;

/** What {@link parseSizeBytes} accepts, for messages. */
export const SIZE_FORM = 'a number with a unit: "64B", "64KiB", "10MiB" or "1GiB"';

/**
 * Reads a size such as `64B`, `64KiB`, `1.5MiB` or `1GiB` (also `Ki`, `Mi`, `Gi`); gives whole bytes, 0 to 2^53 - 1.
 * Raises `RangeError` when the unit is missing or unknown, or the number is not one.
 */
export function parseSizeBytes(text: string): number {
  const match = FORM.exec(text);
  if (match === null) {
    const why = /^[0-9.]+$/.test(text) ? `"${text}" has no unit` : `"${text.slice(0, 100)}" is not a size`;
    throw new RangeError(`${why}: expected ${SIZE_FORM}`);
  }
  const [, amount, unit] = match as unknown as [string, string, keyof typeof UNITS_BYTES];
  const bytes = Math.round(Number(amount) * UNITS_BYTES[unit]);
  if (!Number.isSafeInteger(bytes)) throw new RangeError(`"${text}" is too large`);
  return bytes;
}

/** Writes a size in the largest unit that keeps it whole; `parseSizeBytes` reads it back. `bytes` is a whole number ≥ 0. */
export function formatSize(bytes: number): string {
  if (!Number.isSafeInteger(bytes) || bytes < 0) throw new RangeError(`not a whole number of bytes: ${bytes}`);
  for (const unit of ["GiB", "MiB", "KiB"] as const) {
    if (bytes !== 0 && bytes % UNITS_BYTES[unit] === 0) return `${bytes / UNITS_BYTES[unit]}${unit}`;
  }
  return `${bytes}B`;
}

// Shares as text: percent with their sign, because a bare number could be a share or a percentage (style 8). Inside, a ratio of 0 to 1.

/** What {@link parsePercentage} accepts, for messages. */
export const PERCENTAGE_FORM = 'a percentage from "0%" to "100%"';

const FORM = /^([0-9]{1,3}(?:\.[0-9]{1,3})?)%$/;

/** Reads `20%` or `0.5%`; gives a ratio, 0 to 1. Raises `RangeError` for anything else. */
export function parsePercentage(text: string): number {
  const match = FORM.exec(text);
  const percent = match === null ? Number.NaN : Number(match[1]);
  if (percent <= 100) return percent / 100;
  throw new RangeError(`"${text.slice(0, 100)}" is not ${PERCENTAGE_FORM}`);
}

/** Writes a ratio; `parsePercentage` reads it back to three decimals of a percent. */
export function formatPercentage(ratio: number): string {
  return `${Number((ratio * 100).toFixed(3))}%`;
}

// "Did you mean …?": finds the known name that a mistyped one was probably meant to be.

const MAX_DISTANCE = 3;
const MAX_NAME_LENGTH = 128;

/**
 * The candidate with the smallest edit distance to `name` (letter case ignored; two swapped neighbours count as one edit); null when none is
 * within 3 edits and within a third of the name's length. Among equals the first wins.
 */
export function nearestName(name: string, candidates: Iterable<string>): string | null {
  if (name.length > MAX_NAME_LENGTH) return null;
  let nearest: string | null = null;
  let bound = Math.min(MAX_DISTANCE, Math.max(1, Math.floor(name.length / 3)));
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - name.length) > bound) continue;
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance > bound || (nearest !== null && distance === bound)) continue;
    nearest = candidate;
    bound = distance;
    if (distance === 0) break;
  }
  return nearest;
}

/** Optimal string alignment: insert, delete, replace, swap neighbours. */
function editDistance(from: string, to: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: to.length + 1 }, (_, column) => column);
  for (let row = 1; row <= from.length; row++) {
    const current = [row];
    for (let column = 1; column <= to.length; column++) {
      const replaced = at(last, column - 1) + (from[row - 1] === to[column - 1] ? 0 : 1);
      let best = Math.min(at(current, column - 1) + 1, at(last, column) + 1, replaced);
      if (row > 1 && column > 1 && from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1]) {
        best = Math.min(best, at(beforeLast, column - 2) + 1);
      }
      current.push(best);
    }
    beforeLast = last;
    last = current;
  }
  return at(last, to.length);
}

function at(row: readonly number[], column: number): number {
  return row[column] ?? Number.POSITIVE_INFINITY;
}

// Two texts as a unified diff, the form that `diff -u` prints and people read. Lines are matched by the longest common subsequence, after the
// equal beginning and end are set aside.

const CONTEXT_LINES = 3;
/** Above this many cells of the table the middle is shown as replaced as a whole: still right, only less tidy. */
const MAX_CELLS = 4_000_000;

type Line = readonly [mark: " " | "-" | "+", text: string];

/** The diff with its two header lines; empty when the texts are equal. */
export function unifiedDiff(before: string, after: string, name: string): string {
  if (before === after) return "";
  const lines = align(split(before), split(after));
  return [`--- ${name}`, `+++ ${name} (injected)`, ...hunks(lines), ""].join("\n");
}

function split(text: string): readonly string[] {
  return (text.endsWith("\n") ? text.slice(0, -1) : text).split("\n");
}

function align(before: readonly string[], after: readonly string[]): readonly Line[] {
  let head = 0;
  while (head < before.length && head < after.length && before[head] === after[head]) head += 1;
  let tail = 0;
  while (tail < before.length - head && tail < after.length - head && before.at(-1 - tail) === after.at(-1 - tail)) tail += 1;
  const same = (text: string): Line => [" ", text];
  return [
    ...before.slice(0, head).map(same),
    ...alignMiddle(before.slice(head, before.length - tail), after.slice(head, after.length - tail)),
    ...before.slice(before.length - tail).map(same),
  ];
}

function alignMiddle(before: readonly string[], after: readonly string[]): readonly Line[] {
  const width = after.length + 1;
  if ((before.length + 1) * width > MAX_CELLS) {
    return [...before.map((text): Line => ["-", text]), ...after.map((text): Line => ["+", text])];
  }
  // cells[i * width + j] is the length of the longest common subsequence of before[i..] and after[j..].
  const cells = new Uint32Array((before.length + 1) * width);
  const cell = (i: number, j: number) => cells[i * width + j] ?? 0;
  for (let i = before.length - 1; i >= 0; i -= 1) {
    for (let j = after.length - 1; j >= 0; j -= 1) {
      cells[i * width + j] = before[i] === after[j] ? cell(i + 1, j + 1) + 1 : Math.max(cell(i + 1, j), cell(i, j + 1));
    }
  }
  const lines: Line[] = [];
  let i = 0;
  let j = 0;
  while (i < before.length || j < after.length) {
    const [old, fresh] = [before[i], after[j]];
    if (old !== undefined && old === fresh) {
      lines.push([" ", old]);
      i += 1;
      j += 1;
    } else if (old !== undefined && (fresh === undefined || cell(i + 1, j) >= cell(i, j + 1))) {
      lines.push(["-", old]);
      i += 1;
    } else {
      lines.push(["+", fresh ?? ""]);
      j += 1;
    }
  }
  return lines;
}

function hunks(lines: readonly Line[]): readonly string[] {
  const near = lines.map((_, index) =>
    lines.slice(Math.max(0, index - CONTEXT_LINES), index + CONTEXT_LINES + 1).some(([mark]) => mark !== " "),
  );
  const printed: string[] = [];
  let [oldLine, newLine] = [1, 1];
  for (let index = 0; index < lines.length; ) {
    const line = lines[index];
    if (line === undefined || near[index] !== true) {
      oldLine += 1;
      newLine += 1;
      index += 1;
      continue;
    }
    const end = near.indexOf(false, index);
    const hunk = lines.slice(index, end === -1 ? lines.length : end);
    const oldCount = hunk.filter(([mark]) => mark !== "+").length;
    const newCount = hunk.filter(([mark]) => mark !== "-").length;
    printed.push(`@@ -${oldLine},${oldCount} +${newLine},${newCount} @@`, ...hunk.map(([mark, text]) => mark + text));
    oldLine += oldCount;
    newLine += newCount;
    index += hunk.length;
  }
  return printed;
}

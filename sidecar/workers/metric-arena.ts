// The numbers that one worker counts, in memory that the first process reads: so a sum over workers misses nothing, also of a worker that was killed
// a moment ago, and nobody has to be asked. An append-only list of cells, each with a text that says what it is; one process writes, one reads.
//
// Layout: one word with the bytes in use, published after an entry is complete; then entries, each [bytes][text bytes][numbers …][text …], padded to 8.

/** What a cell counts. */
export interface CellHead {
  readonly kind: "counter" | "gauge" | "histogram";
  readonly name: string;
  readonly help: string;
  /** In the order in which they were declared. */
  readonly labels: Readonly<Record<string, string | number>>;
  /** Upper bounds of a histogram's buckets, ascending; empty otherwise. */
  readonly bounds: readonly number[];
}

/** A cell: a counter or gauge has one number; a histogram one per bound (not cumulated), then count and sum. */
export interface Cell {
  readonly head: CellHead;
  readonly values: Float64Array;
}

/** The cells of one worker. */
export interface MetricArena {
  /** All cells, oldest first, as far as they are published. */
  cells(): readonly Cell[];
  /** The cell of `head`, made when there is none; null when there is no room for it. For the one process that writes. */
  cell(head: CellHead): Float64Array | null;
}

const FIRST_ENTRY = 8;
const ENTRY_HEADER_BYTES = 8;

/** Opens an arena over zeros, or over what an earlier process left there. `memory` begins at a multiple of 8. */
export function openMetricArena(memory: Uint8Array<ArrayBuffer>): MetricArena {
  const { buffer, byteOffset } = memory;
  const used = new Uint32Array(buffer, byteOffset, 1);
  const known: Cell[] = [];
  const byKey = new Map<string, Cell>();
  /** Where the next unread entry begins. */
  let readTo = FIRST_ENTRY;

  function readNew(): void {
    const end = Math.max(Atomics.load(used, 0), FIRST_ENTRY);
    while (readTo < end) {
      const [entryBytes = 0, textBytes = 0] = new Uint32Array(buffer, byteOffset + readTo, 2);
      const textAt = readTo + entryBytes - padded(textBytes);
      const head = JSON.parse(Buffer.from(buffer, byteOffset + textAt, textBytes).toString()) as CellHead; // written by `append`
      add({ head, values: new Float64Array(buffer, byteOffset + readTo + ENTRY_HEADER_BYTES, numbersOf(head)) });
      readTo += entryBytes;
    }
  }

  function add(cell: Cell): void {
    known.push(cell);
    byKey.set(keyOf(cell.head), cell);
  }

  function append(head: CellHead): Float64Array | null {
    const text = Buffer.from(JSON.stringify(head));
    const numbers = numbersOf(head);
    const at = readTo;
    const textAt = at + ENTRY_HEADER_BYTES + numbers * 8;
    const end = textAt + padded(text.length);
    if (end > memory.length) return null;
    new Uint32Array(buffer, byteOffset + at, 2).set([end - at, text.length]);
    memory.set(text, textAt);
    Atomics.store(used, 0, end); // published: from here on it is seen, and complete
    readNew();
    return byKey.get(keyOf(head))?.values ?? null;
  }

  return {
    cells() {
      readNew();
      return known;
    },
    cell(head) {
      readNew();
      return byKey.get(keyOf(head))?.values ?? append(head);
    },
  };
}

/** Sets the gauges of a worker that ended to 0: nothing of it is open any more. What it counted stays. */
export function clearGauges(arena: MetricArena): void {
  for (const { head, values } of arena.cells()) if (head.kind === "gauge") values.fill(0);
}

function numbersOf({ kind, bounds }: CellHead): number {
  return kind === "histogram" ? bounds.length + 2 : 1;
}

function keyOf({ name, labels }: CellHead): string {
  return `${name} ${JSON.stringify(labels)}`;
}

function padded(bytes: number): number {
  return Math.ceil(bytes / 8) * 8;
}

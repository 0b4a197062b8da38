// The files of one audit trail: `audit.log`, which grows, and `audit.log.00000000000000012001`, …, which are complete, each named by the number of its first
// record, so that their names sort as they follow one another.
import { open, readdir, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { type AuditRecord, digest, MAX_LINE_BYTES, readRecord } from "./audit-record.ts";

const SEQ_DIGITS = 20;
/** Holds the last whole line and a torn one, however long they are. */
const TAIL_BYTES = 4 * MAX_LINE_BYTES;

/** What the end of a file looks like. */
export interface FileEnd {
  readonly bytes: number;
  /** The last record; null when there is none. */
  readonly last: AuditRecord | null;
  /** What stands behind the last record and is none; null: nothing. */
  readonly torn: { readonly bytes: number; readonly sha256: string; readonly endsLine: boolean } | null;
}

/** The complete files of `path`, oldest first. */
export async function completeFiles(path: string): Promise<string[]> {
  const prefix = `${basename(path)}.`;
  const names = await readdir(dirname(path)).catch((): string[] => []);
  return names
    .filter((name) => name.startsWith(prefix) && /^[0-9]{20}$/.test(name.slice(prefix.length)))
    .sort()
    .map((name) => join(dirname(path), name));
}

/** Gives the growing file the name of a complete one whose first record is `firstSeq`, and removes the oldest beyond `keep`. */
export async function completeFile(path: string, firstSeq: number, keep: number): Promise<void> {
  await rename(path, `${path}.${String(firstSeq).padStart(SEQ_DIGITS, "0")}`);
  const complete = await completeFiles(path);
  for (const old of complete.slice(0, Math.max(0, complete.length - keep))) await rm(old, { force: true });
}

/** Looks at the end of a file; null when there is no such file. */
export async function endOf(path: string): Promise<FileEnd | null> {
  const file = await open(path, "r").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return null;
    throw error;
  });
  if (file === null) return null;
  try {
    const { size } = await file.stat();
    const from = Math.max(0, size - TAIL_BYTES);
    const tail = Buffer.alloc(size - from);
    await file.read(tail, 0, tail.length, from);
    return { bytes: size, ...lastRecord(tail, from === 0) };
  } finally {
    await file.close();
  }
}

function lastRecord(tail: Buffer, isWhole: boolean): Pick<FileEnd, "last" | "torn"> {
  let end = tail.length;
  while (end > 0) {
    const isLine = tail[end - 1] === 0x0a;
    const lineEnd = isLine ? end - 1 : end;
    const start = lineEnd === 0 ? 0 : tail.lastIndexOf(0x0a, lineEnd - 1) + 1;
    const last = isLine && (start > 0 || isWhole) ? readRecord(tail.toString("utf8", start, lineEnd)) : null;
    if (last !== null) return { last, torn: tornOf(tail.subarray(end)) };
    end = start;
  }
  return { last: null, torn: tornOf(tail) };
}

function tornOf(bytes: Buffer): FileEnd["torn"] {
  if (bytes.length === 0) return null;
  const endsLine = bytes[bytes.length - 1] === 0x0a;
  const text = endsLine ? bytes.subarray(0, -1) : bytes;
  return { bytes: text.length, sha256: digest(text), endsLine };
}

/** Number of the first record of a file; null when its first line is none. */
export async function firstSeqOf(path: string): Promise<number | null> {
  const file = await open(path, "r");
  try {
    const head = Buffer.alloc(MAX_LINE_BYTES);
    const { bytesRead } = await file.read(head, 0, head.length, 0);
    const lineEnd = head.subarray(0, bytesRead).indexOf(0x0a);
    return lineEnd < 0 ? null : (readRecord(head.toString("utf8", 0, lineEnd))?.seq ?? null);
  } finally {
    await file.close();
  }
}

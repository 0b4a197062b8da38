// The growing file of an audit trail: opens it where its chain ends, appends records behind it, and begins a new file when it is large enough. A crash leaves
// at most one torn line behind; the record after it names those bytes, so that a reader can tell them from a line that somebody changed.
import { type FileHandle, mkdir, open, rename, stat } from "node:fs/promises";
import { dirname } from "node:path";
import type { Clock } from "../clock.ts";
import type { AuditFields } from "./audit.ts";
import { completeFile, completeFiles, endOf, type FileEnd, firstSeqOf } from "./audit-files.ts";
import { bodyOf, type ChainHead, EMPTY_CHAIN, lineAfter } from "./audit-record.ts";

/** Only the user of the control plane reads who did what. */
const MODE = 0o600;

/** Where the file is and when a new one is begun. */
export interface ChainedFileOptions {
  readonly path: string;
  /** A new file is begun once one has this many bytes. */
  readonly maxBytes: number;
  /** Complete files that are kept; older ones are removed. */
  readonly keep: number;
  readonly clock: Clock;
  /** Stands in each record that tells of an opening: which process it was. */
  readonly about: AuditFields;
}

/** An audit file that is appended to by one caller at a time. */
export interface ChainedFile {
  readonly head: ChainHead;
  /** Appends bodies of audit-record.ts and waits until they are on disk. Rejects with the error of the file system; then nothing of them counts as written. */
  append(bodies: readonly string[]): Promise<void>;
  close(): Promise<void>;
}

interface OpenFile {
  readonly handle: FileHandle;
  readonly inode: number;
  readonly firstSeq: number;
  /** What we wrote or found; more or less on disk was somebody else. */
  bytes: number;
}

/** Finds the end of the chain; nothing is written before the first `append`. Rejects when the path cannot be used. */
export async function openChainedFile(options: ChainedFileOptions): Promise<ChainedFile> {
  const { path, maxBytes, keep, clock, about } = options;
  await mkdir(dirname(path), { recursive: true });
  let head = EMPTY_CHAIN;
  let file: OpenFile | null = null;
  /** Goes before the next record: ends a torn line. */
  let prefix = "";
  /** Bodies about the file itself that go before the next record. */
  let remarks: string[] = [];
  await reopen({});

  /** Takes up the chain where the files end; without files, where it ended in memory. `why` null: no remark, the file is one of ours that begins. */
  async function reopen(why: AuditFields | null): Promise<void> {
    const end = await endOf(path);
    const isReadable = end === null || end.bytes === 0 || end.last !== null;
    const aside = isReadable ? null : `${path}.unreadable-${clock.nowMs()}`;
    if (aside !== null) await rename(path, aside);
    head = later(head, (isReadable ? end?.last : null) ?? (await headOfComplete()));
    const handle = await open(path, "a", MODE);
    const { ino, size } = await handle.stat();
    const firstSeq = (size > 0 ? await firstSeqOf(path) : null) ?? head.seq + 1;
    await file?.handle.close();
    file = { handle, inode: ino, bytes: size, firstSeq };
    prefix = isReadable && end?.torn != null && !end.torn.endsLine ? "\n" : "";
    if (why === null) return;
    remarks = [bodyOf("audit.opened", { ...about, ...why, ...tornFields(end), ...(aside === null ? {} : { aside }) }, clock.nowMs())];
  }

  async function headOfComplete(): Promise<ChainHead> {
    const newest = (await completeFiles(path)).at(-1);
    return (newest === undefined ? null : (await endOf(newest))?.last) ?? EMPTY_CHAIN;
  }

  /** The file as it should be; opened again when it was moved away, and with a remark when somebody else changed it. */
  async function current(): Promise<OpenFile> {
    if (file === null) await reopen({});
    const named = await stat(path).catch(() => null);
    if (named?.ino !== file?.inode) await reopen({ replaced: true });
    const open = file as OpenFile; // `reopen` sets it or rejects
    const { size } = await open.handle.stat();
    if (size !== open.bytes) {
      const remark = { expectedBytes: open.bytes, foundBytes: size };
      const end = await endOf(path);
      remarks.push(bodyOf("audit.foreign", { ...remark, ...tornFields(end) }, clock.nowMs()));
      prefix = end?.torn != null && !end.torn.endsLine ? "\n" : "";
      open.bytes = size;
    }
    return open;
  }

  async function rotate(): Promise<void> {
    if (file === null || file.bytes < maxBytes || head.seq < file.firstSeq) return;
    const { handle, firstSeq } = file;
    await completeFile(path, firstSeq, keep);
    file = null;
    await handle.close();
    await reopen(null);
  }

  async function append(bodies: readonly string[]): Promise<void> {
    await rotate();
    const open = await current();
    let next = head;
    let text = prefix;
    for (const body of [...remarks, ...bodies]) {
      const made = lineAfter(next, body);
      text += made.line;
      next = made.head;
    }
    const bytes = Buffer.from(text);
    await writeDown(open, bytes);
    open.bytes += bytes.length;
    head = next;
    prefix = "";
    remarks = [];
  }

  async function writeDown({ handle, bytes: before }: OpenFile, bytes: Buffer): Promise<void> {
    try {
      for (let written = 0; written < bytes.length; ) written += (await handle.write(bytes, written)).bytesWritten;
      await handle.datasync();
    } catch (error) {
      // What got through must not stand there twice. Where even that fails, the file is looked at anew, as after a crash.
      await handle.truncate(before).catch(async () => {
        file = null;
        await handle.close();
      });
      throw error;
    }
  }

  return {
    get head() {
      return head;
    },
    append,
    async close() {
      await file?.handle.close();
      file = null;
    },
  };
}

function later(a: ChainHead, b: ChainHead): ChainHead {
  return b.seq > a.seq ? { seq: b.seq, hash: b.hash } : a;
}

function tornFields(end: FileEnd | null): AuditFields {
  return end?.torn == null ? {} : { tornBytes: end.torn.bytes, tornSha256: end.torn.sha256 };
}

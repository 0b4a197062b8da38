// Checks an audit trail: that every line is the one that was written, that each follows the one before it across all files, and that it reaches as far as somebody
// saw it reach. Reads line by line, so that its memory does not depend on the length of the trail.
import { createReadStream } from "node:fs";
import { firstSeqOf } from "./audit-files.ts";
import { type AuditRecord, type ChainHead, digest, readRecord } from "./audit-record.ts";

const MAX_FINDINGS = 20;
/** No line of ours is as long; a file without any line feed is not read into memory as a whole. */
const MAX_STRANGE_BYTES = 1024 * 1024;

/** What was found out about a trail. */
export interface ChainReport {
  readonly files: number;
  readonly records: number;
  /** Null without any record. */
  readonly first: ChainHead | null;
  readonly last: ChainHead | null;
  /** What must not be in an untouched trail; the first twenty, each with file and line. Empty: it is whole. */
  readonly problems: readonly string[];
  /** What an auditor should know all the same: torn lines of crashes, gaps that were recorded, a missing beginning. */
  readonly remarks: readonly string[];
}

/** One line of a trail; `record` null: it is none. */
export interface TrailLine {
  readonly file: string;
  readonly line: number;
  readonly text: string;
  readonly record: AuditRecord | null;
}

/** All lines of `files`, which are taken in the order of their first records. */
export async function* readTrail(files: readonly string[]): AsyncGenerator<TrailLine> {
  for (const file of await inOrder(files)) {
    let line = 0;
    for await (const text of linesOf(file)) {
      line += 1;
      yield { file, line, text, record: readRecord(text) };
    }
  }
}

/** Only a line feed ends a line; node:readline would also take U+2028 for one, which JSON leaves as it is. */
async function* linesOf(file: string): AsyncGenerator<string> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of createReadStream(file) as AsyncIterable<Buffer>) {
    const bytes = Buffer.concat([rest, chunk]);
    let start = 0;
    for (let end = bytes.indexOf(0x0a); end >= 0; end = bytes.indexOf(0x0a, start)) {
      yield bytes.toString("utf8", start, end);
      start = end + 1;
    }
    rest = bytes.subarray(start);
    if (rest.length <= MAX_STRANGE_BYTES) continue;
    yield rest.toString("utf8");
    rest = Buffer.alloc(0);
  }
  if (rest.length > 0) yield rest.toString("utf8");
}

/** Checks the chain of `files`; `seen` are ends of the chain that were noted elsewhere: from the metrics, the health page or the log. */
export async function verifyTrail(files: readonly string[], seen: readonly ChainHead[] = []): Promise<ChainReport> {
  const problems: string[] = [];
  const remarks: string[] = [];
  const unseen = new Map(seen.map(({ seq, hash }) => [seq, hash]));
  let records = 0;
  let first: AuditRecord | null = null;
  let last: AuditRecord | null = null;
  let strange: TrailLine | null = null;

  const blame = ({ file, line }: TrailLine, what: string) => {
    if (problems.length < MAX_FINDINGS) problems.push(`${file}:${line}: ${what}`);
  };

  for await (const found of readTrail(files)) {
    const { record } = found;
    if (record === null) {
      if (strange !== null) blame(strange, NO_RECORD);
      strange = found;
      continue;
    }
    if (strange !== null) {
      if (isTorn(strange, record)) remarks.push(`${strange.file}:${strange.line}: a line torn by a crash, as record ${record.seq} says`);
      else blame(strange, NO_RECORD);
      strange = null;
    }
    if (last !== null && (record.prev !== last.hash || record.seq !== last.seq + 1)) blame(found, breakBetween(last, record));
    if (unseen.has(record.seq) && unseen.get(record.seq) !== record.hash)
      blame(found, `record ${record.seq} has another hash than was seen: the trail was written anew`);
    unseen.delete(record.seq);
    if (record.fields.event === "audit.foreign") blame(found, "somebody else had changed the file before this record was written");
    const remark = remarkOf(record);
    if (remark !== null) remarks.push(`${found.file}:${found.line}: ${remark}`);
    records += 1;
    first ??= record;
    last = record;
  }
  if (strange !== null) remarks.push(`${strange.file}:${strange.line}: the last line is torn, or just being written`);
  if (first !== null && first.seq > 1) remarks.push(`it begins with record ${first.seq}; what came before is not in these files`);
  for (const seq of unseen.keys()) {
    if (last !== null && first !== null && seq < first.seq) remarks.push(`record ${seq}, which was seen, is before these files`);
    else if (problems.length < MAX_FINDINGS)
      problems.push(`record ${seq} was seen and is missing: the trail ends with ${last?.seq ?? "none"}`);
  }
  return { files: files.length, records, first, last, problems, remarks };
}

const NO_RECORD = "no record, or one that was changed: its hash is not that of its text";

/** Only the record behind it may excuse a line that is none, and only these very bytes. */
function isTorn({ text }: TrailLine, { fields }: AuditRecord): boolean {
  return fields.event === "audit.opened" && fields["tornSha256"] === digest(text);
}

function breakBetween(before: AuditRecord, record: AuditRecord): string {
  if (record.seq > before.seq + 1) return `records ${before.seq + 1} to ${record.seq - 1} are missing before this one`;
  if (record.seq <= before.seq) return `record ${record.seq} stands behind record ${before.seq}: out of order, or put in`;
  return `record ${record.seq} does not follow the record ${before.seq} before it: that one was exchanged`;
}

function remarkOf({ seq, fields }: AuditRecord): string | null {
  if (fields.event === "audit.gap") return `record ${seq}: ${fields["lost"]} events since ${fields["since"]} could not be written`;
  return fields["aside"] === undefined ? null : `record ${seq}: a file that could not be read was put aside as ${fields["aside"]}`;
}

async function inOrder(files: readonly string[]): Promise<readonly string[]> {
  const placed = await Promise.all(files.map(async (file) => ({ file, seq: (await firstSeqOf(file)) ?? seqInName(file) })));
  return placed.sort((a, b) => (a.seq === b.seq ? 0 : a.seq < b.seq ? -1 : 1)).map(({ file }) => file);
}

/** Of a complete file whose first line was changed; the growing file is the last one. */
function seqInName(file: string): number {
  return Number(/\.([0-9]{20})$/.exec(file)?.[1] ?? Number.POSITIVE_INFINITY);
}

// `remora audit`: reads the audit files of control planes. `verify` says whether they are whole, `show` prints what is in them. The chain itself is core/audit.
import { type Command, InvalidArgumentError } from "commander";
import { AUDIT_EVENTS } from "../core/audit/audit.ts";
import { readTrail, verifyTrail } from "../core/audit/audit-chain.ts";
import { completeFiles } from "../core/audit/audit-files.ts";
import type { ChainHead } from "../core/audit/audit-record.ts";
import { nearestName } from "../core/nearest.ts";

interface VerifyFlags {
  readonly head?: readonly ChainHead[];
  readonly output: "text" | "json";
}
interface ShowFlags {
  readonly event?: readonly string[];
  readonly identity?: string;
  readonly since?: number;
  readonly until?: number;
  readonly match?: string;
}

/** Adds the command. */
export function register(program: Command): void {
  const audit = program.command("audit").summary("check and read the audit trail of a control plane");
  audit
    .command("verify")
    .summary("say whether an audit trail is whole")
    .description(
      "Checks that no record was changed, removed, added or moved, across rotated files too. For `audit.log` its complete files\n" +
        "(`audit.log.0…`) beside it are read as well. A trail that lost its end is whole in itself: name the ends that were seen with --head,\n" +
        "from the log line `audit head`, from `/api/v1/health`, or of the copy of another day. Exits with 0 when it is whole, with 1 when not.",
    )
    .argument("<file...>", "audit files")
    .option("--head <seq:hash>", "an end of the chain that was seen; may be repeated", collectHead)
    .option("-o, --output <how>", "text or json", parseOutput, "text")
    .action(async (files: readonly string[], flags: VerifyFlags) => {
      process.exitCode = await verify(files, flags);
    });
  audit
    .command("show")
    .summary("print records")
    .description("Prints records as they stand in the files, one JSON object a line. All options have to fit. It checks nothing.")
    .argument("<file...>", "audit files")
    .option("--event <name>", "only these events, such as certificate.issued; may be repeated", collectEvent)
    .option("--identity <id>", "only records of this identity: a SPIFFE id, or NAMESPACE/SERVICE-ACCOUNT")
    .option("--since <time>", "only from this time on (RFC 3339)", parseTime)
    .option("--until <time>", "only before this time", parseTime)
    .option("--match <text>", "only records that contain this text: a serial, an instance, a reason")
    .action(show);
}

async function verify(files: readonly string[], { head, output }: VerifyFlags): Promise<number> {
  const report = await verifyTrail(await withComplete(files), head);
  const isWhole = report.problems.length === 0 && report.records > 0;
  if (output === "json") process.stdout.write(`${JSON.stringify({ whole: isWhole, ...report, ...endsOf(report) }, null, 2)}\n`);
  else {
    for (const problem of report.problems) process.stdout.write(`broken: ${problem}\n`);
    for (const remark of report.remarks) process.stdout.write(`note: ${remark}\n`);
    const { first, last } = report;
    const range = first === null || last === null ? "no records" : `records ${first.seq} to ${last.seq}, head ${last.seq}:${last.hash}`;
    process.stdout.write(`${isWhole ? "whole" : "NOT WHOLE"}: ${report.files} ${report.files === 1 ? "file" : "files"}, ${range}\n`);
  }
  return isWhole ? 0 : 1;
}

function endsOf({ first, last }: { readonly first: ChainHead | null; readonly last: ChainHead | null }): object {
  const bare = (end: ChainHead | null) => (end === null ? null : { seq: end.seq, hash: end.hash });
  return { first: bare(first), last: bare(last) };
}

async function show(files: readonly string[], { event, identity, since, until, match }: ShowFlags): Promise<void> {
  for await (const { text, record } of readTrail(await withComplete(files))) {
    if (record === null) continue;
    const { fields } = record;
    if (event !== undefined && !event.includes(fields.event)) continue;
    if (identity !== undefined && !isOf(String(fields["identity"] ?? ""), identity)) continue;
    const atMs = Date.parse(fields.time);
    if ((since !== undefined && atMs < since) || (until !== undefined && atMs >= until)) continue;
    if (match !== undefined && !text.includes(match)) continue;
    process.stdout.write(`${text}\n`);
  }
}

function isOf(identity: string, wanted: string): boolean {
  const [namespace, account] = wanted.split("/");
  return identity === wanted || identity.endsWith(`/ns/${namespace}/sa/${account}`);
}

/** The files as given, and the complete ones of each, once. */
async function withComplete(files: readonly string[]): Promise<readonly string[]> {
  const all = await Promise.all(files.map(async (file) => [...(await completeFiles(file)), file]));
  return [...new Set(all.flat())];
}

function collectHead(text: string, before: readonly ChainHead[] = []): readonly ChainHead[] {
  const match = /^([1-9][0-9]{0,15}):([0-9a-f]{64})$/.exec(text);
  if (match === null) throw new InvalidArgumentError("a number and 64 hexadecimal digits such as 1200:9f86… are expected");
  return [...before, { seq: Number(match[1]), hash: match[2] as string }];
}

function collectEvent(name: string, before: readonly string[] = []): readonly string[] {
  if (Object.hasOwn(AUDIT_EVENTS, name)) return [...before, name];
  const near = nearestName(name, Object.keys(AUDIT_EVENTS));
  throw new InvalidArgumentError(
    near === null ? `known are ${Object.keys(AUDIT_EVENTS).join(", ")}` : `there is no such event; did you mean ${near}?`,
  );
}

function parseTime(text: string): number {
  const atMs = Date.parse(text);
  if (!Number.isFinite(atMs)) throw new InvalidArgumentError("a time such as 2026-01-31T12:00:00Z is expected");
  return atMs;
}

function parseOutput(text: string): string {
  if (text === "text" || text === "json") return text;
  throw new InvalidArgumentError("text or json is expected");
}

// One line of an audit file: JSON that ends in the hash of everything before it, the hash of the line before included. So a line that is changed, taken out
// or put elsewhere breaks the chain from there on. Owns the text of a line and its reading; which line follows which is audit-chain.ts.
import { createHash } from "node:crypto";
import type { AuditEventName, AuditFields } from "./audit.ts";

/** What the first record of all names as the one before it. */
export const NO_HASH = "0".repeat(64);
/** Longest line that is written; longer texts in it are cut. */
export const MAX_LINE_BYTES = 16 * 1024;
/** More than `seq`, `prev` and `hash` take. */
const PLACE_BYTES = 256;
const MAX_TEXT_CHARACTERS = 500;
const MAX_LISTED = 50;

const HASH_PART = /^(.*),"hash":"([0-9a-f]{64})"\}$/s;

/** The end of a chain: where the next record goes on. */
export interface ChainHead {
  /** Of the last record; 0 before the first. */
  readonly seq: number;
  /** 64 hex digits. */
  readonly hash: string;
}

/** The head of a chain without records. */
export const EMPTY_CHAIN: ChainHead = Object.freeze({ seq: 0, hash: NO_HASH });

/** A line that was read and whose own hash fits its text. */
export interface AuditRecord extends ChainHead {
  /** `hash` of the record before. */
  readonly prev: string;
  /** Everything in the line. */
  readonly fields: Readonly<Record<string, unknown>> & { readonly event: string; readonly time: string };
}

/** The part of a line that is known when the event happens, without its place in the chain. Texts are cut to 500 characters, lists to 50 items. */
export function bodyOf(event: AuditEventName, fields: AuditFields, nowMs: number): string {
  const { seq, time, event: name, prev, hash, ...own } = fields; // names of the record's own, which no event may fake
  const body = JSON.stringify({ time: new Date(nowMs).toISOString(), event, ...own }, (_key, value: unknown) => bounded(value));
  if (Buffer.byteLength(body) <= MAX_LINE_BYTES - PLACE_BYTES) return body;
  return JSON.stringify({ time: new Date(nowMs).toISOString(), event, tooLong: Buffer.byteLength(body) });
}

function bounded(value: unknown): unknown {
  if (typeof value === "string") return value.length > MAX_TEXT_CHARACTERS ? `${value.slice(0, MAX_TEXT_CHARACTERS)}…` : value;
  return Array.isArray(value) && value.length > MAX_LISTED ? [...value.slice(0, MAX_LISTED), `… ${value.length} in all`] : value;
}

/** The line that puts `body` behind `head`, with its newline, and the head after it. */
export function lineAfter(head: ChainHead, body: string): { readonly line: string; readonly head: ChainHead } {
  const seq = head.seq + 1;
  const text = `{"seq":${seq},${body.slice(1, -1)},"prev":"${head.hash}"`;
  const hash = digest(text);
  return { line: `${text},"hash":"${hash}"}\n`, head: { seq, hash } };
}

/** Reads a line (without its newline); null when it is no record or its hash is not that of its text. */
export function readRecord(line: string): AuditRecord | null {
  const match = HASH_PART.exec(line);
  if (match === null || digest(match[1] as string) !== match[2]) return null;
  const fields = parse(line);
  if (fields === null) return null;
  const { seq, prev, event, time, hash } = fields;
  if (!Number.isSafeInteger(seq) || typeof prev !== "string" || typeof event !== "string" || typeof time !== "string") return null;
  if (hash !== match[2]) return null;
  return { seq: seq as number, prev, hash: match[2] as string, fields: fields as AuditRecord["fields"] };
}

/** Names bytes that are no record, in the record that tells of them. */
export function digest(text: string | Buffer): string {
  return createHash("sha256").update(text).digest("hex");
}

function parse(line: string): Readonly<Record<string, unknown>> | null {
  try {
    const value = JSON.parse(line) as unknown;
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Readonly<Record<string, unknown>>) : null;
  } catch {
    return null;
  }
}

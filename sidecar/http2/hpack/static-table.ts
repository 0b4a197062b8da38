// The static table (RFC 7541 appendix A): the 61 fields that every connection knows from the start, as the entries which lists refer to.
import { HeaderEntry, type HeaderName, INDEXING } from "./header-entry.ts";

/** How many there are; the dynamic table begins behind them. */
export const STATIC_COUNT = 61;

/** A line each: the name, and the value behind `=`. */
const FIELDS = `:authority
:method=GET
:method=POST
:path=/
:path=/index.html
:scheme=http
:scheme=https
:status=200
:status=204
:status=206
:status=304
:status=400
:status=404
:status=500
accept-charset
accept-encoding=gzip, deflate
accept-language
accept-ranges
accept
access-control-allow-origin
age
allow
authorization
cache-control
content-disposition
content-encoding
content-language
content-length
content-location
content-range
content-type
cookie
date
etag
expect
expires
from
host
if-match
if-modified-since
if-none-match
if-range
if-unmodified-since
last-modified
link
location
max-forwards
proxy-authenticate
proxy-authorization
range
referer
refresh
retry-after
server
set-cookie
strict-transport-security
transfer-encoding
user-agent
vary
via
www-authenticate`;

/** By index, 1 to {@link STATIC_COUNT}. Index 0 means nothing to anyone (RFC 7541 section 6.1); its place is taken so that no look-up needs a subtraction. */
export const STATIC_ENTRIES: readonly HeaderEntry[] = ["", ...FIELDS.split("\n")].map(createEntry);

function createEntry(field: string, index: number): HeaderEntry {
  const [name, value = ""] = field.split("=") as [string, string?];
  const entry = new HeaderEntry(name, value, INDEXING.indexed);
  entry.place = -index;
  // Of several entries with one name the first is as good as any.
  entry.known.staticIndex = index;
  return entry;
}

/** What the static table has under one name. */
export interface StaticName {
  /** Knows the first index with this name. */
  readonly known: HeaderName;
  /** Indices by value; null where the table has the name alone, which is most often. */
  readonly values: ReadonlyMap<string, number> | null;
}

/** By name. */
export const STATIC_NAMES: ReadonlyMap<string, StaticName> = namesOf(STATIC_ENTRIES);

function namesOf(entries: readonly HeaderEntry[]): Map<string, StaticName> {
  const names = new Map<string, { readonly known: HeaderName; values: Map<string, number> | null }>();
  for (let index = 1; index < entries.length; index += 1) {
    const entry = entries[index] as HeaderEntry;
    const found = names.get(entry.name) ?? { known: entry.known, values: null };
    names.set(entry.name, found);
    if (entry.value === "") continue;
    found.values ??= new Map();
    found.values.set(entry.value, index);
  }
  return names;
}

/** The index of a name; 0 without one. */
export function staticNameIndex(name: string): number {
  return STATIC_NAMES.get(name)?.known.staticIndex ?? 0;
}

/** The index of a field; 0 without one. A field whose value is empty is in the table where its name is alone there. */
export function staticIndex(name: string, value: string): number {
  const found = STATIC_NAMES.get(name);
  if (found === undefined) return 0;
  if (found.values === null) return value === "" ? found.known.staticIndex : 0;
  return found.values.get(value) ?? 0;
}

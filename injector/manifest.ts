// Manifests as people write them: several YAML documents with comments. A document that does not change keeps every byte; one that does keeps its
// comments and the order of its keys. YAML is read as kubectl reads it, version 1.1, where `on` is a boolean and so has to be quoted as a text.
import { Document, isAlias, isCollection, isMap, isNode, isSeq, parseDocument, type Tags, visit } from "yaml";
import { ConfigError } from "../core/errors.ts";
import type { PatchOperation } from "./patch/difference.ts";

/** One document of a stream. */
export interface ManifestDocument {
  /** Everything between the separators. */
  readonly source: string;
  readonly yaml: Document;
  /** The content as plain data; null for an empty document. */
  readonly value: unknown;
}

const SEPARATOR = /^---(?=\s|$)/m;
/** Types of YAML 1.1 that kubectl's reader does not have: a date or 12:30 stays a text. */
const NOT_IN_KUBERNETES: ReadonlySet<string> = new Set(["timestamp", "set", "omap", "pairs"].map((name) => `tag:yaml.org,2002:${name}`));

/** Reads a stream of documents; JSON is YAML too. Throws `ConfigError("invalid_value")` naming `name`, line and column of the first mistake. */
export function parseManifests(text: string, name: string): readonly ManifestDocument[] {
  const documents: ManifestDocument[] = [];
  let line = 0;
  for (const source of text.replace(/^\uFEFF/, "").split(SEPARATOR)) {
    documents.push(parseOne(source, name, line));
    line += source.split("\n").length - 1;
  }
  return documents;
}

/** Prints a stream; `changes` holds the new text of the documents that changed. */
export function formatManifests(documents: readonly ManifestDocument[], changes: ReadonlyMap<ManifestDocument, string>): string {
  const parts = documents.map((document) => {
    const changed = changes.get(document);
    return changed === undefined ? document.source : `\n${changed}`;
  });
  // The first part stands before the first separator.
  const [first = "", ...rest] = parts;
  const opening = changes.has(documents[0] as ManifestDocument) ? first.slice(1) : first;
  const text = [opening, ...rest].join("---");
  return text === "" || text.endsWith("\n") ? text : `${text}\n`;
}

/** Applies patches at places inside the document and prints it. `document` itself stays as it is. */
export function patchDocument(
  document: ManifestDocument,
  patches: readonly { readonly path: readonly (string | number)[]; readonly operations: readonly PatchOperation[] }[],
): string {
  const yaml = hasAliases(document.yaml) ? new Document(document.value, readingOptions()) : document.yaml.clone();
  for (const { path, operations } of patches) {
    for (const operation of operations) apply(yaml, [...path.map(String), ...parsePointer(operation.path)], operation);
  }
  return printDocument(yaml, document.source);
}

/** The document as {@link patchDocument} would print it without a patch, so that a comparison shows the patch and nothing else. */
export function printUnchanged(document: ManifestDocument): string {
  return printDocument(document.yaml.clone(), document.source);
}

function parseOne(source: string, name: string, lineOffset: number): ManifestDocument {
  const yaml = parseDocument(source, readingOptions());
  const [error] = yaml.errors;
  if (error !== undefined) {
    const [at] = error.linePos ?? [];
    const where = at === undefined ? name : `${name}:${lineOffset + at.line}:${at.col}`;
    throw new ConfigError("invalid_value", `${where}: not YAML: ${error.message.split(" at line ")[0]}`);
  }
  try {
    return { source, yaml, value: yaml.toJS() };
  } catch (cause) {
    throw new ConfigError("invalid_value", `${name}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

function readingOptions(): { readonly version: "1.1"; readonly customTags: (tags: Tags) => Tags } {
  const known = (tag: Tags[number]) => typeof tag === "string" || (!NOT_IN_KUBERNETES.has(tag.tag) && tag.format !== "TIME");
  return { version: "1.1", customTags: (tags) => tags.filter(known) };
}

function hasAliases(yaml: Document): boolean {
  let found = false;
  visit(yaml, {
    Alias() {
      found = true;
      return visit.BREAK;
    },
  });
  return found;
}

function apply(yaml: Document, keys: readonly string[], operation: PatchOperation): void {
  const parent = yaml.getIn(keys.slice(0, -1), true);
  const key = keys.at(-1) ?? "";
  if (!isCollection(parent) || isAlias(parent)) throw new Error(`no list or object at /${keys.slice(0, -1).join("/")}`);
  if (operation.op === "remove") {
    parent.delete(isSeq(parent) ? Number(key) : key);
    return;
  }
  const value = yaml.createNode(operation.value);
  if (isSeq(parent) && operation.op === "add") parent.items.splice(Number(key), 0, value);
  else if (isSeq(parent)) parent.set(Number(key), value);
  else if (isMap(parent)) parent.set(key, value);
  // A flow collection that was empty ({} or []) would print what we add on one endless line.
  if (parent.flow === true && parent.items.length === 1 && isNode(value)) parent.flow = false;
}

function parsePointer(pointer: string): readonly string[] {
  return pointer
    .split("/")
    .slice(1)
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
}

function printDocument(yaml: Document, source: string): string {
  if (isCollection(yaml.contents) && yaml.contents.flow === true) unfold(yaml);
  const indentSeq = !/^( *)[^\s#-][^\n]*:[ \t]*\n\1- /m.test(source);
  return yaml.toString({ lineWidth: 0, indentSeq, flowCollectionPadding: !/\{[^\s}]/.test(source) });
}

/** JSON comes out as YAML that people can read. */
function unfold(yaml: Document): void {
  visit(yaml, {
    Collection(_, collection) {
      collection.flow = collection.items.length === 0;
    },
    Scalar(_, scalar) {
      delete scalar.type; // the quotes of JSON are not needed; the printer puts them where they are
    },
  });
}

// The table of annotations as people read it: for the terminal, for Markdown (the README), and as plain data for scripts. One source, so that what is
// documented is what is enforced.
import { ANNOTATION_NAMES, ANNOTATION_PREFIX, ANNOTATIONS, type AnnotationName, type AnnotationScope } from "./annotations.ts";

/** One annotation in words. A stable schema: scripts read it. */
export interface AnnotationDoc {
  /** With prefix. */
  readonly name: string;
  /** Kind of value, with its unit. */
  readonly type: string;
  /** The whole grammar. */
  readonly allowed: string;
  readonly default: string;
  readonly scope: AnnotationScope;
  readonly doc: string;
}

/** Every annotation, in the order of the table. */
export function annotationDocs(): readonly AnnotationDoc[] {
  return ANNOTATION_NAMES.map(annotationDoc);
}

/** One of them. */
export function annotationDoc(name: AnnotationName): AnnotationDoc {
  const { type, scope, default: usual, doc } = ANNOTATIONS[name];
  return { name: ANNOTATION_PREFIX + name, type: type.kind, allowed: type.allowed, default: usual, scope, doc };
}

/** A table in Markdown, without a newline at its end; of all annotations it is the README's. */
export function annotationMarkdown(docs: readonly AnnotationDoc[] = annotationDocs()): string {
  const rows = docs.map(({ name, type, allowed, default: usual, scope, doc }) => [
    `\`${name}\``,
    ...[type, usual, SCOPES[scope], doc, allowed].map(cell),
  ]);
  const heads = ["Annotation", "Type", "Default", "On", "Meaning", "Allowed"];
  return [heads, heads.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n");
}

/** Where it may stand, in words. */
export const SCOPES: Readonly<Record<AnnotationScope, string>> = { pod: "pods", namespace: "namespaces", both: "pods, namespaces" };

function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("\n", " ");
}

// `remora annotations`: the table of annotations, all or one, for people and for scripts. Written from the same table that the webhook enforces.
import { type Command, Option } from "commander";
import { stringify } from "yaml";
import { ConfigError } from "../core/errors.ts";
import { nearestName } from "../core/nearest.ts";
import { type AnnotationDoc, annotationDoc, annotationDocs, annotationMarkdown, SCOPES } from "../injector/annotations/annotation-docs.ts";
import { ANNOTATION_NAMES, ANNOTATION_PREFIX, isAnnotationName, shorten } from "../injector/annotations/annotations.ts";
import { createPaint, type Paint, paragraph } from "./paint.ts";

interface AnnotationsFlags {
  readonly output: "table" | "json" | "yaml" | "md";
}

const NAME_WIDTH = 32;
const INDENT = 4;

/** Adds the command. */
export function register(program: Command): void {
  program
    .command("annotations")
    .summary("list the annotations of namespaces and pods")
    .description(
      "Lists every remora.io annotation with its type, default and meaning. On a pod (template) it is a setting of that pod; on a namespace it is the default of its pods.",
    )
    .argument("[name]", "one annotation, with or without remora.io/")
    .addOption(new Option("-o, --output <form>", "what to print").choices(["table", "json", "yaml", "md"]).default("table"))
    .action(async (name: string | undefined, { output }: AnnotationsFlags) => {
      const paint = createPaint(process.stdout, process.env);
      const text = name === undefined ? printAll(output, paint) : printOne(findDoc(name), output, paint);
      await new Promise<void>((resolve) => process.stdout.write(text, () => resolve()));
    });
}

function printAll(output: AnnotationsFlags["output"], paint: Paint): string {
  switch (output) {
    case "json":
      return `${JSON.stringify(annotationDocs(), null, 2)}\n`;
    case "yaml":
      return stringify(annotationDocs());
    case "md":
      return `${annotationMarkdown()}\n`;
    case "table":
      return `${annotationDocs()
        .map((doc) => printEntry(doc, paint))
        .join("\n\n")}\n`;
  }
}

function printOne(doc: AnnotationDoc, output: AnnotationsFlags["output"], paint: Paint): string {
  switch (output) {
    case "json":
      return `${JSON.stringify(doc, null, 2)}\n`;
    case "yaml":
      return stringify(doc);
    case "md":
      return `${annotationMarkdown([doc])}\n`;
    case "table":
      return printDetails(doc, paint);
  }
}

function printEntry({ name, type, default: usual, doc }: AnnotationDoc, paint: Paint): string {
  const head = `${paint.bold(name)}${" ".repeat(Math.max(1, NAME_WIDTH - name.length))}${paint.cyan(type)}  ${paint.dim(`default: ${usual}`)}`;
  return `${head}\n${paragraph(doc, INDENT, paint.columns)}`;
}

function printDetails({ name, type, allowed, default: usual, scope, doc }: AnnotationDoc, paint: Paint): string {
  const hint = scope === "both" ? " (a namespace gives its pods a default)" : "";
  const facts: readonly (readonly [string, string])[] = [
    ["type", type],
    ["allowed", allowed],
    ["default", usual],
    ["on", `${SCOPES[scope]}${hint}`],
  ];
  const labelled = facts.map(([label, text]) => {
    const [first = "", ...rest] = paragraph(text, INDENT + 9, paint.columns).split("\n");
    return [`${" ".repeat(INDENT)}${paint.dim(label.padEnd(9))}${first.trimStart()}`, ...rest].join("\n");
  });
  return `${paint.bold(name)}\n${paragraph(doc, INDENT, paint.columns)}\n\n${labelled.join("\n")}\n`;
}

function findDoc(asked: string): AnnotationDoc {
  const name = asked.startsWith(ANNOTATION_PREFIX) ? asked.slice(ANNOTATION_PREFIX.length) : asked;
  if (isAnnotationName(name)) return annotationDoc(name);
  const nearest = nearestName(name, ANNOTATION_NAMES);
  const hint = nearest === null ? "; remora annotations lists them" : `; did you mean ${ANNOTATION_PREFIX}${nearest}?`;
  throw new ConfigError("invalid_value", `there is no annotation ${shorten(asked)}${hint}`);
}

// `npm run docs`: writes the README's tables of settings, annotations and what is refused from the tables that the code enforces, between their markers. A test holds
// the README to it.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { controlSettings } from "../cli/control/config.ts";
import { initSettings } from "../cli/init-command.ts";
import { settingsMarkdown } from "../core/config.ts";
import { annotationMarkdown } from "../injector/annotations/annotation-docs.ts";
import { sidecarSettings } from "../sidecar/config.ts";
import { STRICTNESS, type StrictnessRow } from "../sidecar/http1/strictness.ts";

const README = join(import.meta.dirname, "..", "README.md");

/** The generated parts by marker. */
function parts(): ReadonlyMap<string, string> {
  return new Map([
    ["control settings", settingsMarkdown(controlSettings)],
    ["sidecar settings", settingsMarkdown(sidecarSettings)],
    ["init settings", settingsMarkdown(initSettings)],
    ["annotations", annotationMarkdown()],
    ["strictness", strictnessMarkdown()],
  ]);
}

/** `text` with every generated part as it should be. Throws when a marker is missing. */
export function withGeneratedParts(text: string): string {
  let result = text;
  for (const [name, body] of parts()) {
    const [begin, end] = [`<!-- begin ${name} -->\n`, `<!-- end ${name} -->`];
    const from = result.indexOf(begin);
    const to = result.indexOf(end);
    if (from < 0 || to < from) throw new Error(`the README has no place for "${name}"`);
    result = `${result.slice(0, from + begin.length)}${body}\n${result.slice(to)}`;
  }
  return result;
}

function strictnessMarkdown(): string {
  const rows = Object.entries<StrictnessRow>(STRICTNESS).map(([rule, row]) => [`\`${rule}\``, cell(row.text), row.rfc, answerTo(row)]);
  return [["Rule", "What is refused", "Source", "Answer"], ["---", "---", "---", "---"], ...rows]
    .map((row) => `| ${row.join(" | ")} |`)
    .join("\n");
}

function answerTo({ where, status }: StrictnessRow): string {
  if (where === "request") return String(status);
  return where === "response" ? "502" : `${status}; an answer: 502`;
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("\n", " ");
}

if (import.meta.main) await writeFile(README, withGeneratedParts(await readFile(README, "utf8")));

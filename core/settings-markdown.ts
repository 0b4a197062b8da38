// The README's tables of settings, written from the same declarations that are enforced.
import { environmentName, type Setting } from "./setting.ts";

/** A Markdown table of every setting of `table`, in its order: name, default, what is allowed, meaning. Ends without a newline. */
export function settingsMarkdown(table: Readonly<Record<string, Setting<unknown>>>): string {
  const rows = Object.entries(table).map(([key, setting]) => [
    `\`${environmentName(key, setting)}\``,
    defaultCell(setting),
    cell(setting.allowed),
    cell(setting.doc),
  ]);
  return [["Variable", "Default", "Allowed", "Meaning"], ["---", "---", "---", "---"], ...rows]
    .map((row) => `| ${row.join(" | ")} |`)
    .join("\n");
}

function defaultCell({ defaultText }: Setting<unknown>): string {
  if (defaultText === null) return "required";
  return defaultText === "" ? "none" : `\`${cell(defaultText)}\``;
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("\n", " ");
}

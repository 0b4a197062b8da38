// The outcome for people and for programs. Marks as in `linkerd check`, which operators know: √ it holds, × it does not, ‼ a warning, and ? not looked at.
import { type Paint, paragraph, wrap } from "../paint.ts";
import { CATEGORIES } from "./check.ts";
import { isHealthy, type Outcome } from "./run-checks.ts";

const INDENT = 4;

/** Text for people, grouped. `all` also shows the why of each check that holds. */
export function formatText(outcomes: readonly Outcome[], paint: Paint): string {
  const parts = CATEGORIES.flatMap((category) => {
    const own = outcomes.filter(({ check }) => check.category === category);
    return own.length === 0 ? [] : [`${paint.bold(category)}\n${own.map((outcome) => lineOf(outcome, paint)).join("\n")}\n`];
  });
  return `${parts.join("\n")}\n${summary(outcomes, paint)}\n`;
}

function lineOf(outcome: Outcome, paint: Paint): string {
  const { check, result, detail, fix } = outcome;
  switch (result) {
    case "ok":
      return `${paint.green("√")} ${check.title}${detail === "" ? "" : paint.dim(` (${detail})`)}`;
    case "failed": {
      const mark = check.severity === "error" ? paint.red("×") : paint.yellow("‼");
      // A command is to be copied, so it is one line however long.
      return [
        `${mark} ${check.title}`,
        paragraph(detail, INDENT, paint.columns),
        paint.dim(paragraph(check.doc, INDENT, paint.columns)),
        `    fix: ${paint.cyan(fix)}`,
      ].join("\n");
    }
    case "unknown":
      return [`${paint.yellow("?")} ${check.title}`, paragraph(`could not be checked: ${detail}`, INDENT, paint.columns)].join("\n");
    case "skipped":
      return [`${paint.yellow("?")} ${check.title}`, paragraph(`not checked: ${detail}`, INDENT, paint.columns)].join("\n");
  }
}

function summary(outcomes: readonly Outcome[], paint: Paint): string {
  const count = (is: (outcome: Outcome) => boolean) => outcomes.filter(is).length;
  const errors = count(({ check, result }) => result === "failed" && check.severity === "error");
  const warnings = count(({ check, result }) => result === "failed" && check.severity === "warning");
  const open = count(({ result }) => result === "unknown" || result === "skipped");
  const figures = `${outcomes.length} checks: ${count(({ result }) => result === "ok")} hold, ${errors} ${errors === 1 ? "does" : "do"} not, ${warnings} ${warnings === 1 ? "warning" : "warnings"}, ${open} not made`;
  const verdict = isHealthy(outcomes)
    ? paint.green("all is well")
    : open > 0 && errors === 0
      ? paint.yellow("not known to be well")
      : paint.red("not well");
  return wrap(`${figures}: ${verdict}`, paint.columns).join("\n");
}

/** Stable: fields are added, never changed or taken away. One object with a line feed. */
export function formatJson(outcomes: readonly Outcome[]): string {
  const checks = outcomes.map(({ check, result, detail, fix }) => ({
    id: check.id,
    category: check.category,
    title: check.title,
    severity: check.severity,
    result,
    detail,
    fix: fix === "" ? null : fix,
    doc: check.doc,
  }));
  return `${JSON.stringify({ healthy: isHealthy(outcomes), checks }, null, 2)}\n`;
}

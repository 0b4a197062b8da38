// What the demo looks like: one line a step with ✓ or ✗, what was seen below it, and how to try it oneself.

/** Prints the demo's progress. */
export interface Terminal {
  title(text: string): void;
  /** A line that is replaced by the step's outcome, on a terminal; nothing elsewhere. */
  working(text: string): void;
  passed(title: string, seen: readonly string[], tries: readonly string[]): void;
  failed(title: string, why: string): void;
  line(text?: string): void;
}

type Style = (text: string) => string;

/** Writes to `out`; colours only on a terminal, and not with NO_COLOR (no-color.org). */
export function createTerminal(out: NodeJS.WriteStream, env: NodeJS.ProcessEnv): Terminal {
  const isColoured = out.isTTY && (env["NO_COLOR"] ?? "") === "" && env["TERM"] !== "dumb";
  const style =
    (code: number): Style =>
    (text) =>
      isColoured ? `\u001b[${code}m${text}\u001b[0m` : text;
  const [bold, dim, green, red, cyan] = [style(1), style(2), style(32), style(31), style(36)];
  const clear = () => {
    if (isColoured) out.write("\r\u001b[K");
  };
  const print = (text: string) => {
    clear();
    out.write(`${text}\n`);
  };
  return {
    title: (text) => print(`\n${bold(text)}\n`),
    working(text) {
      if (isColoured) out.write(`\r\u001b[K  ${dim(`… ${text}`)}`);
    },
    passed(title, seen, tries) {
      print(`  ${green("✓")} ${title}`);
      for (const text of seen) print(`      ${text}`);
      for (const text of tries) print(`      ${dim("$")} ${cyan(text)}`);
    },
    failed(title, why) {
      print(`  ${red("✗")} ${bold(title)}`);
      for (const text of why.split("\n")) print(`      ${text}`);
    },
    line: (text = "") => print(text),
  };
}

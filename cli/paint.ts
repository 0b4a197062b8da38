// Text for people: colours where a terminal shows them, lines that fit. Nothing of it where the output is a file or a pipe, or with NO_COLOR (no-color.org).

/** Where text is going. */
export interface Output {
  readonly isTTY?: boolean;
  readonly columns?: number;
}

type Style = (text: string) => string;

/** Styles for one output. */
export interface Paint {
  readonly bold: Style;
  readonly dim: Style;
  readonly red: Style;
  readonly green: Style;
  readonly yellow: Style;
  readonly cyan: Style;
  /** Columns that lines may have; a pipe is as wide as {@link PIPE_COLUMNS}. */
  readonly columns: number;
}

const PIPE_COLUMNS = 120;
const NARROWEST = 40;

/** Styles for `out`; without effect unless it is a terminal that wants colours. */
export function createPaint(out: Output, env: Readonly<Record<string, string | undefined>>): Paint {
  const isColoured = out.isTTY === true && (env["NO_COLOR"] ?? "") === "" && env["TERM"] !== "dumb";
  const style =
    (code: number): Style =>
    (text) =>
      isColoured && text !== "" ? `\u001b[${code}m${text}\u001b[0m` : text;
  const columns = Math.max(NARROWEST, Math.min(out.columns ?? PIPE_COLUMNS, PIPE_COLUMNS));
  return { bold: style(1), dim: style(2), red: style(31), green: style(32), yellow: style(33), cyan: style(36), columns };
}

/** Breaks `text` at spaces into lines of at most `width` characters; a longer word stands alone. */
export function wrap(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

/** The same with every line behind `indent` spaces. */
export function paragraph(text: string, indent: number, columns: number): string {
  return wrap(text, columns - indent)
    .map((line) => " ".repeat(indent) + line)
    .join("\n");
}

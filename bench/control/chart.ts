// The chart of a sweep: what the control plane costs, against how many sidecars it carries. Three panels side by side: CPU, private memory, latency.
import type { Result } from "./scenarios.ts";

const PANEL = { width: 300, height: 200, gap: 70, left: 60, top: 40 } as const;
const COLOR = "#0f766e";
const GOAL_COLOR = "#b91c1c";

interface Panel {
  readonly title: string;
  readonly unit: string;
  readonly value: (result: Result) => number;
  /** The value that was aimed at with 20 000 sidecars; null: none. */
  readonly goal: number | null;
}

const PANELS: readonly Panel[] = [
  { title: "CPU", unit: "cores", value: ({ cores }) => cores, goal: 1 },
  { title: "private memory", unit: "MB", value: ({ peakMb }) => peakMb, goal: 400 },
  { title: "answer to a heartbeat, p99", unit: "ms", value: ({ probe }) => probe.answer.p99, goal: 10 },
];

/** Draws the chart. `footer` is put below it. */
export function drawSweep(results: readonly Result[], footer: string): string {
  const width = PANELS.length * (PANEL.width + PANEL.gap) + PANEL.gap;
  const height = PANEL.top + PANEL.height + 80;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
    "<title>What one control plane costs, against the number of sidecars</title>",
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    ...PANELS.map((panel, index) => drawPanel(panel, results, PANEL.left + index * (PANEL.width + PANEL.gap))),
    `<text x="${PANEL.left}" y="${height - 16}" font-size="11" fill="#64748b">${footer}; red: the goal with 20 000 sidecars</text>`,
    "</svg>",
    "",
  ].join("\n");
}

function drawPanel({ title, unit, value, goal }: Panel, results: readonly Result[], left: number): string {
  const mostX = Math.max(1, ...results.map(({ sidecars }) => sidecars));
  const mostY = Math.max(goal ?? 0, ...results.map(value)) * 1.1;
  const x = (sidecars: number) => left + (sidecars / mostX) * PANEL.width;
  const y = (amount: number) => PANEL.top + PANEL.height - (amount / mostY) * PANEL.height;
  const line = results.map((result) => `${x(result.sidecars).toFixed(1)},${y(value(result)).toFixed(1)}`).join(" ");
  const points = results.map((result) => {
    const [cx, cy] = [x(result.sidecars).toFixed(1), y(value(result)).toFixed(1)];
    return `<circle cx="${cx}" cy="${cy}" r="3.5" fill="${COLOR}"/><text x="${cx}" y="${(y(value(result)) - 8).toFixed(1)}" text-anchor="middle" font-size="11" fill="#334155">${shown(value(result))}</text>`;
  });
  const marks = results.map(
    ({ sidecars }) =>
      `<text x="${x(sidecars).toFixed(1)}" y="${PANEL.top + PANEL.height + 16}" text-anchor="middle" font-size="10" fill="#64748b">${sidecars / 1000}k</text>`,
  );
  const goalLine =
    goal === null
      ? ""
      : `<line x1="${left}" x2="${left + PANEL.width}" y1="${y(goal).toFixed(1)}" y2="${y(goal).toFixed(1)}" stroke="${GOAL_COLOR}" stroke-dasharray="4 4"/>`;
  return [
    `<text x="${left}" y="24" font-weight="bold">${title}, ${unit}</text>`,
    `<path d="M${left} ${PANEL.top}V${PANEL.top + PANEL.height}H${left + PANEL.width}" fill="none" stroke="#94a3b8"/>`,
    goalLine,
    `<polyline points="${line}" fill="none" stroke="${COLOR}" stroke-width="2"/>`,
    ...points,
    ...marks,
  ].join("");
}

function shown(value: number): string {
  return value < 1 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : value.toFixed(0);
}

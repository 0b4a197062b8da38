// The results as one SVG: a panel for each scenario, a bar for each proxy. CPU per request, one hop behind the other; for the constant load the latency
// added instead, p50 within p90 within p99.
import { isOurs, NO_PROXY } from "./proxies.ts";
import type { Line, ScenarioReport } from "./report.ts";

const COLUMNS = 2;
const PANEL_WIDTH = 510;
const MARGIN = 20;
const LABEL_WIDTH = 80;
const BAR_WIDTH = 240;
const ROW_HEIGHT = 20;
const BAR_HEIGHT = 14;
const TITLE_HEIGHT = 44;
const FOOTER_HEIGHT = 56;

/** Dark, middle, light. */
const OURS = ["#0f766e", "#2dd4bf", "#99f6e4"] as const;
const THEIRS = ["#475569", "#94a3b8", "#cbd5e1"] as const;

/** A bar: parts from the left, each with where it ends, in the unit of its panel. */
interface Bar {
  readonly label: string;
  readonly parts: readonly { readonly end: number; readonly color: string }[];
  readonly text: string;
}

/** Draws the chart. `footer` is put below it, one line each. */
export function drawChart(reports: readonly ScenarioReport[], footer: readonly string[]): string {
  const panels = reports.map((report) => ({ report, bars: barsOf(report) }));
  const rowsOf = (index: number) =>
    panels.slice(index - (index % COLUMNS), index - (index % COLUMNS) + COLUMNS).map(({ bars }) => bars.length);
  const heights = panels
    .filter((_panel, index) => index % COLUMNS === 0)
    .map((_panel, line) => panelHeight(Math.max(...rowsOf(line * COLUMNS))));
  const width = COLUMNS * PANEL_WIDTH + MARGIN;
  const height = heights.reduce((sum, one) => sum + one, 0) + FOOTER_HEIGHT + footer.length * 14;
  const drawn = panels.map(({ report, bars }, index) => {
    const top = heights.slice(0, Math.floor(index / COLUMNS)).reduce((sum, one) => sum + one, 0);
    return `<g transform="translate(${MARGIN + (index % COLUMNS) * PANEL_WIDTH} ${top})">${drawPanel(report, bars)}</g>`;
  });
  const bottom = height - FOOTER_HEIGHT - footer.length * 14;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
    "<title>What two hops cost, proxy by proxy</title>",
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    ...drawn,
    `<g transform="translate(${MARGIN} ${bottom + 24})">${drawLegend(footer)}</g>`,
    "</svg>",
    "",
  ].join("\n");
}

function panelHeight(rows: number): number {
  return TITLE_HEIGHT + rows * ROW_HEIGHT + MARGIN;
}

function drawPanel({ scenario }: ScenarioReport, bars: readonly Bar[]): string {
  const most = Math.max(Number.MIN_VALUE, ...bars.flatMap(({ parts }) => parts.map(({ end }) => end)));
  const unit = { closed: "CPU µs per request", bulk: "CPU ms per GB", constant: "latency added, ms: p50, p90, p99" }[scenario.load];
  const rows = bars.map(({ label, parts, text }, row) => {
    const y = TITLE_HEIGHT + row * ROW_HEIGHT;
    // The longest first, so that the shorter ones lie on it.
    const rects = [...parts]
      .sort((a, b) => b.end - a.end)
      .map(
        ({ end, color }) =>
          `<rect x="${LABEL_WIDTH}" y="${y}" width="${((end / most) * BAR_WIDTH).toFixed(1)}" height="${BAR_HEIGHT}" fill="${color}"/>`,
      );
    const longest = Math.max(0, ...parts.map(({ end }) => end));
    const textX = LABEL_WIDTH + (longest / most) * BAR_WIDTH + 6;
    return [
      `<text x="${LABEL_WIDTH - 8}" y="${y + 11}" text-anchor="end">${escapeXml(label)}</text>`,
      ...rects,
      `<text x="${textX.toFixed(1)}" y="${y + 11}" font-size="11" fill="#334155">${escapeXml(text)}</text>`,
    ].join("");
  });
  return `<text y="20" font-size="13" font-weight="bold">${escapeXml(scenario.title)}</text><text y="36" font-size="11" fill="#64748b">${unit}</text>${rows.join("\n")}`;
}

function barsOf({ scenario, lines }: ScenarioReport): readonly Bar[] {
  const proxies = lines.filter(({ row }) => row.proxy !== NO_PROXY);
  return proxies.map(scenario.load === "constant" ? latencyBar : costBar);
}

function costBar({ row, ratios }: Line): Bar {
  const [dark, , light] = colorsOf(row.proxy);
  const sum = row.cpuUsOut + row.cpuUsIn;
  const text = `${row.cpuUsOut.toFixed(0)} + ${row.cpuUsIn.toFixed(0)}${ratios === null ? "" : ` (${ratios.map((ratio) => ratio.toFixed(2)).join(" and ")} ×)`}`;
  const parts = [
    { end: row.cpuUsOut, color: dark },
    { end: sum, color: light },
  ];
  return { label: row.proxy, parts, text };
}

function latencyBar({ row, added }: Line): Bar {
  const shown = (added ?? []).slice(0, 3);
  const colors = colorsOf(row.proxy);
  const parts = shown.map((value, index) => ({ end: Math.max(0, value), color: colors[index] ?? colors[0] })); // below zero: less than the noise
  return { label: row.proxy, parts, text: shown.map((value) => value.toFixed(2)).join(" / ") };
}

function colorsOf(proxy: string): readonly [string, string, string] {
  return isOurs(proxy) ? OURS : THEIRS;
}

function drawLegend(footer: readonly string[]): string {
  const words =
    "CPU: the hop next to the caller (dark), then the one next to the origin (light); in brackets each hop's as a multiple of nginx's.";
  const lines = ["Remora's engines are green.", words, ...footer];
  return lines.map((line, index) => `<text y="${index * 14}" font-size="11" fill="#64748b">${escapeXml(line)}</text>`).join("");
}

function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

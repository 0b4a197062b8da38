// Alerts and dashboards: each alert fires and keeps still as promtool shows, each query parses, and each metric in them is one that the program really has.
import { execFile } from "node:child_process";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import t from "tap";
import { parse, parseAllDocuments } from "yaml";
import { freePort } from "../support/free-port.ts";
import { findProgram, requires } from "../support/requires.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { remora, startedControl } from "../cli/remora.ts";

const run = promisify(execFile);
const ROOT = join(import.meta.dirname, "..", "..");
const MONITORING = join(ROOT, "manifests", "monitoring");
const CASES = join(import.meta.dirname, "monitoring");
/** The variable, as Grafana writes it. */
const DATASOURCE = `$${"{datasource}"}`;
const promtool = (...args: readonly string[]) => run(findProgram("promtool") ?? "promtool", [...args], { timeout: 60_000 });

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly for?: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}
interface RuleFile {
  readonly groups: readonly { readonly name: string; readonly rules: readonly Rule[] }[];
}
interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly datasource?: { readonly type: string; readonly uid: string };
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly { readonly refId: string; readonly expr: string; readonly datasource: { readonly uid: string } }[];
}
interface Dashboard {
  readonly uid: string;
  readonly title: string;
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string; readonly type: string; readonly definition?: string }[] };
}

const ruleFiles = (await readdir(MONITORING)).filter((name) => name.startsWith("alerts-")).map((name) => join(MONITORING, name));
const alerts = (await Promise.all(ruleFiles.map((path) => readFile(path, "utf8")))).flatMap((text) =>
  (parse(text) as RuleFile).groups.flatMap(({ rules }) => rules),
);
const dashboardFiles = (await readdir(join(MONITORING, "dashboards"))).map((name) => join(MONITORING, "dashboards", name));
const dashboards = await Promise.all(dashboardFiles.map(async (path) => JSON.parse(await readFile(path, "utf8")) as Dashboard));

/** A query as Prometheus would get it from Grafana. */
const filled = (expr: string) => expr.replaceAll("$__rate_interval", "5m").replaceAll("$job", ".*").replaceAll("$instance", ".*");
const queries = dashboards.flatMap(({ panels, title }) =>
  panels.flatMap((panel) => (panel.targets ?? []).map(({ expr }) => ({ where: `${title} / ${panel.title}`, expr: filled(expr) }))),
);

t.test("the rules are sound, and each alert does what its cases say", { skip: requires("promtool") }, async (t) => {
  await promtool("check", "rules", ...ruleFiles);
  const cases = (await readdir(CASES)).map((name) => join(CASES, name));
  await promtool("test", "rules", ...cases).catch((error: Error & { stdout: string; stderr: string }) =>
    t.fail(`${error.stdout}\n${error.stderr}`.slice(0, 5000)),
  );
  const texts = await Promise.all(cases.map((path) => readFile(path, "utf8")));
  const names = texts.flatMap((text) =>
    (parse(text) as { readonly tests: readonly { readonly name: string }[] }).tests.map(({ name }) => name),
  );
  for (const { alert } of alerts) {
    t.ok(names.includes(`${alert} fires`), `${alert}: a case that fires it`);
    t.ok(names.includes(`${alert} does not fire`), `${alert}: a case that is like it and does not`);
  }
  t.equal(names.length, 2 * alerts.length, "no case of an alert that is gone");
});

t.test("each alert says how bad it is, what it means, and what to do", async (t) => {
  const commands = await readFile(join(ROOT, "cli", "main.ts"), "utf8");
  t.equal(new Set(alerts.map(({ alert }) => alert)).size, alerts.length, "each name once");
  for (const { alert, labels, annotations, for: wait, expr } of alerts) {
    t.match(alert, /^Remora[A-Z]\w+$/);
    t.ok(["critical", "warning"].includes(labels["severity"] ?? ""), `${alert}: severity`);
    t.strictSame(Object.keys(annotations).sort(), ["description", "runbook", "summary"], alert);
    // What has happened once is told at once; what is so now has to stay so.
    t.ok(wait !== undefined || /increase\(|max_over_time\(/.test(expr), `${alert}: for`);
    const named = [...(annotations["runbook"] ?? "").matchAll(/`remora ([a-z]+)/g)].map(([, command]) => command);
    for (const command of named)
      t.ok(command === "ca" || commands.includes(`\n  ${command}: {`), `${alert}: there is a command ${command}`);
    t.ok(named.length > 0 || /\/api\/v1\/|log/.test(annotations["runbook"] ?? ""), `${alert}: the runbook says where to begin`);
  }
});

t.test("every query of the dashboards parses", { skip: requires("promtool") }, async (t) => {
  const path = join(temporaryFolder(t), "queries.yaml");
  const rules = queries.map(({ expr }, index) => ({ record: `query:${index}`, expr }));
  await writeFile(path, JSON.stringify({ groups: [{ name: "queries", rules }] }));
  await promtool("check", "rules", path).catch((error: Error & { stdout: string; stderr: string }) =>
    t.fail(`${error.stdout}\n${error.stderr}`.slice(0, 5000)),
  );
  t.ok(queries.length > 60, `${queries.length} queries`);
});

t.test("the dashboards are well-formed: Grafana takes what it cannot place without a word", async (t) => {
  t.equal(new Set(dashboards.map(({ uid }) => uid)).size, dashboards.length);
  for (const { title, panels, templating } of dashboards) {
    t.equal(new Set(panels.map(({ id }) => id)).size, panels.length, `${title}: ids`);
    t.match(
      templating.list.find(({ name }) => name === "datasource"),
      { type: "datasource", query: "prometheus" },
    );
    for (const panel of panels) {
      const { x, y, w, h } = panel.gridPos;
      t.ok(x >= 0 && w > 0 && h > 0 && x + w <= 24, `${title} / ${panel.title}: inside of the grid`);
      const over = panels.filter(
        ({ id, gridPos: other }) => id !== panel.id && x < other.x + other.w && other.x < x + w && y < other.y + other.h && other.y < y + h,
      );
      t.strictSame(
        over.map((other) => other.title),
        [],
        `${title} / ${panel.title}: over no other`,
      );
      if (panel.type === "row") continue;
      t.ok((panel.description ?? "").length > 10 && (panel.targets?.length ?? 0) > 0, `${title} / ${panel.title}: says what it shows`);
      t.equal(new Set(panel.targets?.map(({ refId }) => refId)).size, panel.targets?.length);
      for (const { datasource } of [panel, ...(panel.targets ?? [])]) t.equal(datasource?.uid, DATASOURCE, `${title} / ${panel.title}`);
    }
  }
});

t.test("kustomize makes ConfigMaps that Grafana's and Prometheus' mounts expect", { skip: requires("kubectl") }, async (t) => {
  const { stdout } = await run(findProgram("kubectl") ?? "kubectl", ["kustomize", MONITORING]);
  const maps = parseAllDocuments(stdout).map((document) => document.toJS() as object);
  t.match(maps, [
    { kind: "ConfigMap", metadata: { name: "remora-alerts", namespace: "remora-system" }, data: { "alerts-control.yaml": /groups:/ } },
    {
      kind: "ConfigMap",
      metadata: { name: "remora-dashboards", labels: { grafana_dashboard: "1" } },
      data: { "remora-data.json": /panels/ },
    },
  ]);
  for (const example of await readdir(join(MONITORING, "examples")))
    for (const document of parseAllDocuments(await readFile(join(MONITORING, "examples", example), "utf8")))
      t.strictSame(document.errors, []);
});

t.test("every metric that is asked for is one that a control plane, a sidecar or an injector has", async (t) => {
  const control = await startedControl(t, { REMORA_AUDIT_FILE: join(temporaryFolder(t), "audit.log") });
  const [port, adminPort] = [await freePort(), String(await freePort())];
  const app = `require("http").createServer((q, a) => a.end()).listen(process.env.PORT, "127.0.0.1", () => console.log("listening"));`;
  const args = ["run", "--service", "web", "--port", String(port), "--admin-port", adminPort, "--", process.execPath, "-e", app];
  const web = remora(t, args, { REMORA_STATE_DIR: control.stateDir });
  await web.line(/^listening$/, 30_000);

  const known = new Set<string>();
  for (const admin of [control.adminPort, adminPort]) {
    const text = await (await fetch(`http://127.0.0.1:${admin}/metrics`)).text();
    for (const [, name = "", type] of text.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
      known.add(name);
      if (type === "histogram") for (const part of ["bucket", "sum", "count"]) known.add(`${name}_${part}`);
    }
  }
  web.signal("SIGTERM");
  await web.exit();
  t.ok(known.has("remora_health") && known.has("remora_requests_total") && known.has("remora_audit_seq"), `${known.size} metrics`);
  // The injector, the source of services and the store's metrics appear only with an API server or Redis: their declarations are read.
  for (const name of await declared(["injector", "registry"]))
    for (const part of ["", "_bucket", "_sum", "_count"]) known.add(`${name}${part}`);

  const asked = [...alerts.map(({ alert, expr }) => ({ where: alert, expr })), ...queries];
  for (const { definition } of dashboards.flatMap(({ templating }) => templating.list))
    if (definition !== undefined) asked.push({ where: "variable", expr: definition });
  for (const { where, expr } of asked) {
    const names = [...new Set(expr.replace(/"[^"]*"/g, "").match(/\b(?:remora|nodejs|process)_[a-z0-9_]+/g))];
    t.ok(names.length > 0, `${where} asks for something`);
    for (const name of names) t.ok(known.has(name), `${where}: ${name}`);
  }
});

/** Names in `name: "remora_…"` of the sources below `folders`. */
async function declared(folders: readonly string[]): Promise<readonly string[]> {
  const files = await Promise.all(
    folders.map(async (folder) => (await readdir(join(ROOT, folder), { recursive: true })).map((file) => join(ROOT, folder, file))),
  );
  const texts = await Promise.all(
    files
      .flat()
      .filter((file) => file.endsWith(".ts"))
      .map((file) => readFile(file, "utf8")),
  );
  return texts.flatMap((text) => [...text.matchAll(/name: "(remora_[a-z0-9_]+)"/g)].map(([, name = ""]) => name));
}

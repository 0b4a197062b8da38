import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { ConfigError } from "../../core/errors.ts";
import { createLogger, flushLog, silentLogger } from "../../core/log.ts";
import { Secret } from "../../core/secret.ts";
import { startProcess } from "../support/processes.ts";

const LOG_MODULE = new URL("../../core/log.ts", import.meta.url).href;

function collector(): { readonly lines: string[]; write(line: string): void } {
  const lines: string[] = [];
  return { lines, write: (line) => void lines.push(line) };
}

t.test("a line is one JSON object with ISO time, level by name, component and message", async (t) => {
  const stdout = collector();
  createLogger({ component: "sidecar", level: "info", stdout }).info({ connection: 7 }, "connection accepted");
  const line = JSON.parse(stdout.lines[0] ?? "") as Record<string, unknown>;
  t.match(line, {
    level: "info",
    component: "sidecar",
    connection: 7,
    msg: "connection accepted",
    time: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/,
  });
  t.notOk("pid" in line || "hostname" in line);
});

t.test("lines below the level are not written", async (t) => {
  const stdout = collector();
  const log = createLogger({ component: "x", level: "warn", stdout });
  log.info({}, "no");
  log.warn({}, "yes");
  t.equal(stdout.lines.length, 1);
  silentLogger().error("nobody hears this");
});

t.test("an error keeps its code, fields and cause; a secret shows nothing", async (t) => {
  const stdout = collector();
  const log = createLogger({ component: "x", level: "info", stdout });
  const cause = new Error("deeper");
  log.error({ err: new ConfigError("invalid_value", "wrong", { cause, fields: { name: "N" } }), token: new Secret("hunter2") }, "failed");
  t.match(JSON.parse(stdout.lines[0] ?? ""), {
    err: { code: "invalid_value", fields: { name: "N" }, message: /wrong/, stack: /deeper/ },
    token: "[redacted]",
  });
  t.notMatch(stdout.lines[0], /hunter2/);
});

t.test("text from outside cannot forge a line", async (t) => {
  const stdout = collector();
  createLogger({ component: "x", level: "info", stdout }).info({ path: 'a\n{"level":"error"}\u2028' }, "seen");
  t.equal(stdout.lines.join("").trimEnd().split("\n").length, 1);
});

t.test("everything written before exit arrives on stdout", async (t) => {
  const script = `
    import { createLogger } from ${JSON.stringify(LOG_MODULE)};
    const log = createLogger({ component: "x", level: "info" });
    for (let n = 0; n < 500; n++) log.info({ n }, "counting");
    process.exit(0);`;
  const child = startProcess(t, process.execPath, { args: ["--input-type=module-typescript", "-e", script] });
  t.equal(await child.exit(), 0);
  t.equal(child.lines.filter((line) => line.includes("counting")).length, 500);
});

t.test("the file gets the same lines, and begins anew at its size", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "remora-log-"));
  t.teardown(() => rm(folder, { recursive: true }));
  const stdout = collector();
  const file = { path: join(folder, "deep", "remora.log"), maxBytes: 4096, daily: true, keep: 2 };
  const log = createLogger({ component: "x", level: "info", stdout, file });
  for (let n = 0; n < 200; n++) {
    log.info({ n, filler: "f".repeat(100) }, "counting");
    if (n % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await flushLog(log);

  const names = (await readdir(join(folder, "deep"))).sort();
  t.ok(names.length >= 2 && names.length <= 3, `rotated, old ones removed: ${names.join(", ")}`);
  t.ok(names.every((name) => /^remora\.\d+\.log$/.test(name)));
  const kept = (await Promise.all(names.map((name) => readFile(join(folder, "deep", name), "utf8")))).join("");
  t.match(kept, /"n":199/, "the last line is on disk after the flush");
  t.equal(stdout.lines.length, 200);
  log.info({}, "after the flush");
});

t.test("a file that cannot be written is reported once, and stdout goes on", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "remora-log-"));
  t.teardown(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, "in-the-way"), "");
  await mkdir(join(folder, "ok"));
  const stdout = collector();
  const log = createLogger({
    component: "x",
    level: "info",
    stdout,
    file: { path: join(folder, "in-the-way", "remora.log"), maxBytes: 4096, daily: false, keep: 1 },
  });
  log.info({}, "one");
  await flushLog(log);
  log.info({}, "two");
  t.match(
    stdout.lines.map((line) => (JSON.parse(line) as { msg: string }).msg),
    ["one", "log file failed, logging to stdout only", "two"],
  );
});

t.test("a reader of stdout that went away does not end the program", async (t) => {
  const script = `
    import { createLogger } from ${JSON.stringify(LOG_MODULE)};
    const log = createLogger({ component: "x", level: "info" });
    setInterval(() => log.info({}, "tick"), 5);
    setTimeout(() => { process.stderr.write("still here\\n"); process.exit(0); }, 300);`;
  const child = startProcess(t, process.execPath, { args: ["--input-type=module-typescript", "-e", script] });
  child.child.stdout?.destroy();
  await child.line(/still here/);
  t.equal(await child.exit(), 0);
});

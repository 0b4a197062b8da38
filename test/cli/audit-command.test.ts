import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { ranRemora, startedControl, temporaryFolder } from "./remora.ts";

const credential = { authorization: "Bearer rmr1.nonsense", "content-type": "application/json" };

t.test("a control plane keeps an audit file, over a crash too, and `remora audit` checks and reads it", async (t) => {
  const path = join(temporaryFolder(t), "trail", "audit.log");
  const env = { REMORA_AUDIT_FILE: path };
  const first = await startedControl(t, env);
  t.notOk((await fetch(`http://127.0.0.1:${first.adminPort}/api/v1/heartbeat`, { method: "POST", headers: credential, body: "{}" })).ok);
  first.control.signal("SIGKILL");
  await first.control.exit();
  const second = await startedControl(t, env);
  const health = (await (await fetch(`http://127.0.0.1:${second.adminPort}/api/v1/health`)).json()) as {
    readonly status: string;
    readonly checks: Readonly<Record<string, { readonly status: string; readonly since: string; readonly message?: string }>>;
  };
  t.match(Object.keys(health.checks).sort(), ["audit", "ca", "registry", "services", "store"]);
  for (const check of Object.values(health.checks)) t.match(check, { status: "ok", since: /^\d{4}-\d\d-\d\dT[\d:.]+Z$/ });
  second.control.signal("SIGTERM");
  t.equal(await second.control.exit(), 0);

  const whole = await ranRemora(t, ["audit", "verify", path, "-o", "json"]);
  t.equal(whole.code, 0);
  const report = JSON.parse(whole.text) as { readonly records: number; readonly last: { readonly seq: number; readonly hash: string } };
  t.match(report, { whole: true, problems: [], first: { seq: 1 } });
  t.match(second.control.lines.join("\n"), `"hash":"${report.last.hash}","msg":"audit head"`, "the log says where the chain ends");

  const shown = await ranRemora(t, ["audit", "show", path, "--event", "control.started", "--event", "control.stopped"]);
  t.match(shown.text, /"event":"control.started".*\n.*"event":"control.started".*\n.*"event":"control.stopped"/);
  t.equal((await ranRemora(t, ["audit", "show", path, "--identity", "shop/web"])).text, "");

  const lines = (await readFile(path, "utf8")).trimEnd().split("\n");
  await writeFile(path, `${lines.slice(0, -1).join("\n")}\n`);
  t.equal((await ranRemora(t, ["audit", "verify", path])).code, 0, "a cut at the end breaks no chain");
  const cut = await ranRemora(t, ["audit", "verify", path, "--head", `${report.last.seq}:${report.last.hash}`]);
  t.equal(cut.code, 1);
  t.match(cut.text, /broken: record \d+ was seen and is missing[^]*NOT WHOLE/);
  await writeFile(path, `${lines.filter((_, index) => index !== 1).join("\n")}\n`);
  const removed = await ranRemora(t, ["audit", "verify", path]);
  t.equal(removed.code, 1);
  t.match(removed.text, /broken: .*audit\.log:2: records 2 to 2 are missing/);
});

t.test("what is asked wrongly is said", async (t) => {
  t.match(await ranRemora(t, ["audit", "verify", "/nowhere/audit.log"]), { code: 1, text: /ENOENT/ });
  t.match(await ranRemora(t, ["audit", "verify", "x", "--head", "5"]), { code: 2, text: /a number and 64 hexadecimal digits/ });
  t.match(await ranRemora(t, ["audit", "show", "x", "--event", "certificate.isued"]), {
    code: 2,
    text: /did you mean certificate\.issued/,
  });
  t.match(await ranRemora(t, ["control"], { REMORA_AUDIT_FILE: "/dev/null/audit.log" }), {
    code: 1,
    text: /REMORA_AUDIT_FILE=\/dev\/null\/audit\.log cannot be used/,
  });
});

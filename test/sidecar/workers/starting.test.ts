import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { remora, temporaryFolder } from "../../cli/remora.ts";
import { get, sidecarEnv, startApp, startControl, startSidecar } from "./harness.ts";

const control = await startControl(t);

t.test("a port that somebody else has is refused at the start, not shared", async (t) => {
  const { port } = await startApp(t);
  const first = await startSidecar(t, await sidecarEnv(t, control, port));
  const env = await sidecarEnv(t, control, port, { REMORA_INBOUND_PORT: String(first.inboundPort) });
  const second = remora(t, ["sidecar"], env);
  t.equal(await second.exit(20_000), 1);
  t.match(second.lines.join("\n"), /EADDRINUSE/);
  for (let n = 0; n < 10; n++) t.equal(await get(first.inboundPort), 200, "the first one serves on");
});

t.test("one worker is this process and nothing more", async (t) => {
  const { port } = await startApp(t);
  const sidecar = await startSidecar(t, await sidecarEnv(t, control, port, { REMORA_WORKERS: "1" }));
  t.equal(await get(sidecar.inboundPort), 200);
  t.equal(await sidecar.workers(), undefined);
  const { pid } = sidecar.process;
  t.notMatch(readFileSync(`/proc/${pid}/maps`, "utf8"), /koffi|memfd/, "nothing of what shares memory is loaded");
  const children = readdirSync(`/proc/${pid}/task`).map((task) => readFileSync(`/proc/${pid}/task/${task}/children`, "utf8"));
  t.equal(children.join("").trim(), "", "no child");
});

t.test("workers hold no secret that they do not need, and each process logs into a file of its own", async (t) => {
  const { port } = await startApp(t);
  const folder = temporaryFolder(t);
  const env = await sidecarEnv(t, control, port, { REMORA_METRICS_TOKEN: "hush-hush", REMORA_LOG_FILE: join(folder, "remora.log") });
  const sidecar = await startSidecar(t, env);
  const workers = await sidecar.workers();
  t.equal(workers.length, 2);
  for (const { pid } of workers) {
    const environment = readFileSync(`/proc/${pid}/environ`, "utf8");
    t.match(environment, "REMORA_WORKERS=2", "it has the settings");
    t.notMatch(environment, "hush-hush");
    t.notMatch(environment, env["REMORA_JOIN_TOKEN"] ?? "", "the join token");
  }
  const denied = await fetch(`http://127.0.0.1:${sidecar.adminPort}/metrics`);
  t.equal(denied.status, 401, "the first process still asks for it");
  for (let n = 0; n < 20; n++) t.equal(await get(sidecar.inboundPort), 200);
  sidecar.process.signal("SIGTERM");
  t.equal(await sidecar.process.exit(), 0);
  const files = new Map(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), "utf8")]));
  t.match(files.get("remora.1.log"), '"msg":"ready"');
  for (const worker of [1, 2]) t.match(files.get(`remora-worker${worker}.1.log`), `"worker":${worker}`);
});

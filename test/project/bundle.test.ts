import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { bundle } from "../../bin/bundle.ts";
import { buildInfo } from "../../core/build-info.ts";
import { startProcess } from "../support/processes.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

t.test("the bundle works without the checkout and its packages", async (t) => {
  const outDir = join(temporaryFolder(t), "remora");
  await bundle({ outDir, commit: "0123456789012345678901234567890123456789" });
  const remora = join(outDir, "remora");
  const env = { PATH: `${join(import.meta.dirname, "..", "..", "node_modules", ".bin")}:${process.env["PATH"]}`, HOME: outDir };

  const version = execFileSync(remora, ["version"], { env, encoding: "utf8" });
  t.match(version, `remora ${buildInfo().version}\ncommit 0123456789012345678901234567890123456789\nbuilt  20`);
  t.match(execFileSync(remora, ["init", "--dry-run"], { env, encoding: "utf8" }), "iptables-restore");
  t.match(execFileSync(remora, ["install"], { env, encoding: "utf8" }), "kind: MutatingWebhookConfiguration");
  const native = `process.stdout.write(String(require(${JSON.stringify(join(outDir, "node_modules", "koffi"))}).load(null) !== null))`;
  t.equal(execFileSync("node", ["-e", native], { env, encoding: "utf8" }), "true", "koffi finds its native part");

  const stateDir = join(outDir, "state");
  const args = ["control", "--state-dir", stateDir, "--grpc-port", "0", "--admin-port", "0"];
  const redis = startProcess(t, remora, { args, env: { ...env, REMORA_STORE: "redis", REMORA_REDIS_URL: "redis://127.0.0.1:1" } });
  t.equal(await redis.exit(), 1);
  t.match(redis.lines.at(-1), /remora control: .*127\.0\.0\.1:1/, "what loads only on request loads: the Redis client");

  // So do tracing and the log file.
  const control = startProcess(t, remora, {
    args,
    env: { ...env, OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1", REMORA_LOG_FILE: join(outDir, "log", "remora.log") },
  });
  await control.line(/control plane ready/);
  const web = startProcess(t, remora, {
    args: ["run", "--service", "web", "--", "echo", "in the mesh"],
    env: { ...env, REMORA_STATE_DIR: stateDir },
  });
  await web.line(/^in the mesh$/, 20_000);
  t.equal(await web.exit(), 0, "the bundled sidecar starts, joins and leaves");
  control.signal("SIGTERM");
  t.equal(await control.exit(), 0);
  t.match(readFileSync(join(outDir, "log", "remora.1.log"), "utf8"), "control plane ready");
});

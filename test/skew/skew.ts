// Version skew: what each earlier build is held to, in a test file of its own. Sidecars and control plane of today and of that build, each way: a mesh is
// never upgraded at one moment, so whoever is older or newer, calls are made, gRPC is signed and verified, certificates are renewed and heartbeats shown.
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import t, { type Test } from "tap";
import { until } from "../e2e/until.ts";
import { freePort } from "../support/free-port.ts";
import { startProcess } from "../support/processes.ts";
import { requires } from "../support/requires.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { missingHistory, type OldBuild, takeOldBuild, versionOf } from "./old-build.ts";

const REPOSITORY = resolve(import.meta.dirname, "../..");
const NEW = resolve(REPOSITORY, "bin/remora");
const GRPC_ECHO = resolve(REPOSITORY, "test/support/apps/grpc-echo.ts");
const GRPC_CALLER = resolve(import.meta.dirname, "grpc-caller.ts");
/** Short, so that certificates are renewed while the test looks. */
const LEAF_TTL_MS = 20_000;
const STEP_TIMEOUT_MS = 60_000;
const WEB = `require("http").createServer((q, a) => a.end("served " + q.headers["x-remora-client-id"])).listen(process.env.PORT, "127.0.0.1", () => console.log("app listening"))`;

interface Instance {
  readonly identity: string;
  readonly version: string;
  readonly state: string;
  readonly certExpiresAtMs: number;
  readonly load: { readonly requests?: number } | null;
}

/** Runs one build's command; the environment is `env` and a PATH. */
function run(t: Test, remora: string, args: readonly string[], env: Readonly<Record<string, string>>) {
  return startProcess(t, remora, { args, env: { HOME: "/nonexistent", ...env }, killAfterMs: 500_000 });
}

async function startControl(t: Test, remora: string) {
  const stateDir = temporaryFolder(t);
  const control = run(t, remora, ["control", "--state-dir", stateDir, "--grpc-port", "0", "--admin-port", "0"], {
    REMORA_LEAF_TTL: `${LEAF_TTL_MS / 1000}s`,
    REMORA_HEARTBEAT_INTERVAL: "500ms",
    REMORA_LEASE: "20s",
  });
  const [, , admin = ""] = await control.line(/"ports":\{"grpc":(\d+),"admin":(\d+).*control plane ready/, STEP_TIMEOUT_MS);
  return {
    stateDir,
    async instances(): Promise<readonly Instance[]> {
      const answer = await fetch(`http://127.0.0.1:${admin}/api/v1/instances`, { signal: AbortSignal.timeout(10_000) });
      return ((await answer.json()) as { readonly instances: readonly Instance[] }).instances;
    },
  };
}

/** A program with a sidecar that others call. */
async function serve(t: Test, remora: string, service: string, words: readonly string[], stateDir: string, ready: RegExp): Promise<void> {
  const port = String(await freePort());
  const options = ["--drain-timeout", "200ms", ...(words.includes(GRPC_ECHO) ? ["--grpc"] : [])];
  const served = run(t, remora, ["run", "--service", service, "--port", port, ...options, "--", ...words], { REMORA_STATE_DIR: stateDir });
  // Asked to, it ends its program and its sidecar; killed, it would leave the program behind.
  t.teardown(async () => {
    served.signal("SIGTERM");
    await served.exit(STEP_TIMEOUT_MS).catch(() => null);
  });
  await served.line(ready, STEP_TIMEOUT_MS);
}

/** What a program says that runs next to a sidecar and calls. */
async function call(t: Test, remora: string, caller: string, words: readonly string[], stateDir: string): Promise<string> {
  const ran = run(t, remora, ["run", "--service", caller, "--", ...words], { REMORA_STATE_DIR: stateDir });
  const code = await ran.exit(STEP_TIMEOUT_MS);
  return `${ran.lines.join("\n")}\nexit ${code}`;
}

/** Declares the tests of one build, on its own and mixed with today's. */
export function testSkew(build: OldBuild): void {
  t.setTimeout(560_000);
  const skip = process.env["CI"] === "true" ? false : (missingHistory(build) ?? requires("curl", "git", "tar"));
  t.test(`${versionOf(build)} (${build.what})`, { skip }, async (t) => {
    const missing = missingHistory(build);
    if (missing !== null) return t.fail(missing); // in CI the history has to be there
    const old = takeOldBuild(t, build);
    for (const [controlName, control] of [
      ["today's control plane", NEW],
      ["the old control plane", old],
    ] as const) {
      await t.test(controlName, async (t) => {
        const { stateDir, instances } = await startControl(t, control);
        const node = process.execPath;
        await Promise.all([
          serve(t, old, "old-web", [node, "-e", WEB], stateDir, /^app listening$/),
          serve(t, NEW, "new-web", [node, "-e", WEB], stateDir, /^app listening$/),
          serve(t, old, "old-grpc", [node, GRPC_ECHO], stateDir, /listening/),
          serve(t, NEW, "new-grpc", [node, GRPC_ECHO], stateDir, /listening/),
        ]);
        const startedMs = Date.now();

        async function callsSucceed(t: Test, when: string): Promise<void> {
          for (const [caller, remora, side] of [
            ["caller-old", old, "new"],
            ["caller-new", NEW, "old"],
          ] as const) {
            const [web, grpc] = await Promise.all([
              call(t, remora, caller, ["curl", "-s", "--max-time", "20", `http://${side}-web/`], stateDir),
              call(t, remora, caller, [node, GRPC_CALLER, `${side}-grpc`], stateDir),
            ]);
            t.match(web, `served spiffe://cluster.local/ns/default/sa/${caller}`, `${when}: ${caller} calls ${side}-web`);
            t.match(grpc, /answer: .*across versions/, `${when}: ${caller} calls ${side}-grpc, signed`);
          }
        }

        await t.test("calls succeed both ways, and heartbeats are shown", async (t) => {
          await until(
            "all four are ready",
            STEP_TIMEOUT_MS,
            async () => (await instances()).filter(({ state }) => state === "ready").length === 4,
          );
          await callsSucceed(t, "at first");
          const shown = new Map((await instances()).map((instance) => [instance.identity.split("/").at(-1) ?? "", instance]));
          for (const name of ["old-web", "old-grpc"]) t.equal(shown.get(name)?.version, versionOf(build), name);
          t.not(shown.get("new-web")?.version, versionOf(build));
          for (const name of ["old-web", "new-web"]) t.ok(shown.get(name)?.load, `${name} says how busy it is`);
          if (control === NEW)
            t.ok((shown.get("new-web")?.load?.requests ?? 0) >= 1, "totals of today's sidecar are kept by today's registry");
          if (control === NEW) t.equal(shown.get("old-web")?.load?.requests, 0, "a sidecar that counts no totals is taken as it is");
        });

        await t.test("certificates are renewed, and calls go on after the first ones have ended", async (t) => {
          const first = new Map((await instances()).map(({ identity, certExpiresAtMs }) => [identity, certExpiresAtMs]));
          await sleep(Math.max(0, startedMs + LEAF_TTL_MS + 1_000 - Date.now()));
          await until("every certificate is a newer one", STEP_TIMEOUT_MS, async () => {
            const now = (await instances()).filter(({ identity }) => /(old|new)-(web|grpc)$/.test(identity));
            return (
              now.length === 4 &&
              now.every(({ identity, certExpiresAtMs }) => certExpiresAtMs > Math.max(Date.now(), first.get(identity) ?? 0))
            );
          });
          await callsSucceed(t, "renewed");
        });
      });
    }
  });
}

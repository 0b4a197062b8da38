import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import { ranRemora, remora, startedControl, temporaryFolder } from "./remora.ts";
import { freePort } from "../support/free-port.ts";
import { requires } from "../support/requires.ts";

/** An app that echoes what it was sent, and ends with 7 when asked to. */
const ECHO = `require("http").createServer((q, a) => a.end(JSON.stringify({ caller: q.headers["x-remora-client-id"], host: q.headers.host })))
  .listen(process.env.PORT, "127.0.0.1", () => console.log("listening on " + process.env.PORT));
process.on("SIGTERM", () => process.exit(7));`;

const {
  stateDir,
  grpcPort,
  adminPort: controlAdminPort,
} = await startedControl(t, { REMORA_HEARTBEAT_INTERVAL: "200ms", REMORA_LEASE: "1s" });

t.test("two programs talk through their sidecars, and each leaves as it should", { skip: requires("curl") }, async (t) => {
  const env = { REMORA_STATE_DIR: stateDir };
  const instances = async () =>
    ((await (await fetch(`http://127.0.0.1:${controlAdminPort}/api/v1/instances`)).json()) as { instances: object[] }).instances;

  const port = await freePort();
  const orders = remora(
    t,
    ["run", "--service", "orders", "--port", String(port), "--mode", "strict", "--", process.execPath, "-e", ECHO],
    env,
  );
  await orders.line(/^listening on \d+$/);
  t.match(await instances(), [{ identity: "spiffe://cluster.local/ns/default/sa/orders", state: "ready" }]);

  const call = await ranRemora(t, ["run", "--service", "web", "--", "sh", "-c", "curl -s http://orders/; exit 3"], env);
  t.equal(call.code, 3, "the exit code is the program's");
  t.match(call.text, `{"caller":"spiffe://cluster.local/ns/default/sa/web","host":"orders"}`, "the called program knows who calls");

  orders.signal("SIGTERM");
  t.equal(await orders.exit(), 7, "the program hears the signal and its code is passed on");
  t.same(await instances(), [], "the sidecar has left the registry");
});

t.test("a sidecar that dies is started again", { skip: requires("curl") }, async (t) => {
  const script = `curl -s -o /dev/null http://127.0.0.1:$ADMIN/live; echo up
    curl -s -X POST http://127.0.0.1:$ADMIN/exit; sleep 0.2
    for n in $(seq 200); do sleep 0.2; curl -sf http://127.0.0.1:$ADMIN/ready && break; done; echo; echo back`;
  const adminPort = String(await freePort());
  const run = remora(t, ["run", "--service", "web", "--admin-port", adminPort, "--drain-timeout", "100ms", "--", "sh", "-c", script], {
    REMORA_STATE_DIR: stateDir,
    ADMIN: adminPort,
  });
  await run.line(/^up$/);
  await run.line(/"ready":true/);
  t.equal(await run.exit(), 0);
});

t.test("a token from elsewhere works once", async (t) => {
  const made = await ranRemora(t, ["token", "orders", "--namespace", "shop", "--ttl", "1m"], { REMORA_STATE_DIR: stateDir });
  t.equal(made.code, 0);
  t.match(made.text, /^rmr1\.[\w-]+\.[\w-]+\.[\w-]+$/, "the token and nothing else");

  // Another home folder, so another machine as far as the state goes.
  const elsewhere = [
    "run",
    "--service",
    "orders",
    "--namespace",
    "shop",
    "--control",
    `127.0.0.1:${grpcPort}`,
    "--token",
    made.text,
    "--",
    "true",
  ];
  t.equal((await ranRemora(t, elsewhere, { HOME: temporaryFolder(t) })).code, 0);
  const again = await ranRemora(t, elsewhere, { HOME: temporaryFolder(t) });
  t.equal(again.code, 1);
  t.match(again.text, /used before/);
});

t.test("the program is told where to listen and whom to ask, and nothing secret", async (t) => {
  const outboundPort = await freePort();
  const home = temporaryFolder(t);
  const { text } = await ranRemora(
    t,
    ["run", "--service", "web", "--port", "18934", "--outbound-port", String(outboundPort), "--", "sh", "-c", "env"],
    { REMORA_STATE_DIR: stateDir, REMORA_LOG_LEVEL: "error", MINE: "kept", HOME: home },
  );
  t.notOk(existsSync(join(home, ".remora")), "nothing is left in the home folder");
  const env = new Map(text.split("\n").map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]));
  t.equal(env.get("PORT"), "18934");
  for (const name of ["HTTP_PROXY", "http_proxy"]) t.equal(env.get(name), `http://127.0.0.1:${outboundPort}`);
  t.equal(env.get("NO_PROXY"), "localhost,127.0.0.1,::1");
  t.equal(env.get("MINE"), "kept");
  t.same(
    [...env.keys()].filter((name) => name.startsWith("REMORA_")),
    ["REMORA_OUTBOUND"],
  );
});

t.test("what cannot work is said before anything starts", async (t) => {
  const nobody = await ranRemora(t, ["run", "--service", "web", "--state-dir", temporaryFolder(t), "--", "true"]);
  t.equal(nobody.code, 1);
  t.match(nobody.text, /no control plane runs here .*remora control.*--token/);

  const env = { REMORA_STATE_DIR: stateDir };
  const missing = await ranRemora(t, ["run", "--service", "web", "--", "/no/such/program"], env);
  t.equal(missing.code, 127);
  t.match(missing.text, /cannot run \/no\/such\/program/);

  const setting = await ranRemora(t, ["run", "--service", "web", "--rate-limit", "lots", "--", "true"], env);
  t.equal(setting.code, 1);
  t.match(setting.text, /REMORA_RATE_LIMIT/, "the sidecar says what is wrong with the setting");

  const name = await ranRemora(t, ["run", "--service", "Not A Name", "--", "true"], env);
  t.equal(name.code, 1);
});

t.test("a signal while it waits for the control plane ends it at once", async (t) => {
  const nobody = `127.0.0.1:${await freePort()}`;
  const env = { HOME: temporaryFolder(t), REMORA_LOG_LEVEL: "info" };
  const { text: token } = await ranRemora(t, ["token", "web"], { REMORA_STATE_DIR: stateDir });
  const run = remora(t, ["run", "--service", "web", "--control", nobody, "--token", token, "--", "true"], env);
  await run.line(/no certificate yet/);
  run.signal("SIGTERM");
  t.equal(await run.exit(5_000), 143);
});

t.test("when `remora run` is killed, the sidecar goes too", async (t) => {
  const adminPort = await freePort();
  const run = remora(t, ["run", "--service", "web", "--admin-port", String(adminPort), "--drain-timeout", "100ms", "--", "sleep", "2"], {
    REMORA_STATE_DIR: stateDir,
  });
  const live = () =>
    fetch(`http://127.0.0.1:${adminPort}/live`).then(
      () => true,
      () => false,
    );
  while (!(await live())) await sleep(50);
  run.signal("SIGKILL");
  for (let n = 0; n < 60 && (await live()); n += 1) await sleep(50);
  t.notOk(await live());
});

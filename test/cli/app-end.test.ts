// `remora wait --for-app-end`: a plain sidecar stays until the pod's other programs have ended. Real sockets in a network namespace of their own, where
// there may be one; the kernel's own table either way.
import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { createServer as createTcpServer, type AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import t from "tap";
import { othersIn, waitForAppEnd } from "../../cli/app-end.ts";
import { requires } from "../support/requires.ts";

const HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
const MAIN = fileURLToPath(new URL("../../cli/main.ts", import.meta.url));

function row(state: string, uid: number): string {
  return `   0: 0100007F:1F90 00000000:0000 ${state} 00000000:00000000 00:00000000 00000000  ${uid}        0 81923 1 0000000000000000 100 0 0 10 0`;
}

t.test("only sockets that another user holds count", async (t) => {
  const table = (...rows: string[]) => [HEAD, ...rows, ""].join("\n");
  const cases: readonly [string, boolean][] = [
    ["", false],
    [table(), false],
    [table(row("0A", 1337)), false],
    [table(row("0A", 1337), row("01", 1337)), false],
    [table(row("0A", 1000)), true],
    [table(row("01", 0)), true],
    [table(row("02", 1000)), true],
    [table(row("08", 1000)), true],
    [table(row("06", 0)), false],
    [table(row("04", 0), row("05", 0), row("07", 0)), false],
  ];
  for (const [text, others] of cases) t.equal(othersIn(text, 1337), others, text.replace(HEAD, ""));
});

t.test("the mesh is told at once, and the app is waited for until it holds nothing for a while", async (t) => {
  const asked: string[] = [];
  const admin = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    response.writeHead(202).end();
  });
  await new Promise<void>((resolve) => admin.listen(0, "127.0.0.1", resolve));
  t.teardown(() => new Promise<void>((resolve) => admin.close(() => resolve())));
  const { port } = admin.address() as AddressInfo;
  const app = createTcpServer();
  await new Promise<void>((resolve) => app.listen(0, "127.0.0.1", resolve));
  const appPort = (app.address() as AddressInfo).port;
  let looks = 0;
  const tables = async () => {
    looks += 1;
    if (looks === 3) app.close();
    return [`${HEAD}\n${app.listening ? row("0A", 1000) : row("06", 0)}\n`];
  };
  const startedMs = performance.now();
  t.equal(await waitForAppEnd({ host: "127.0.0.1", adminPort: port, timeoutMs: 30_000, ownUid: 1337, tables }), true);
  t.strictSame(asked, ["POST /leave"]);
  t.ok(performance.now() - startedMs >= 2_000, "quiet for a while, and not for a moment");
  t.ok(looks > 5, `${looks} looks at port ${appPort}`);
});

t.test("the wait is bounded, and a sidecar that does not answer is no reason to fail", async (t) => {
  const tables = async () => [`${HEAD}\n${row("0A", 1000)}\n`];
  const startedMs = performance.now();
  t.equal(await waitForAppEnd({ host: "127.0.0.1", adminPort: 1, timeoutMs: 600, ownUid: 1337, tables }), false);
  t.ok(performance.now() - startedMs < 5_000);
});

t.test("the command sees the sockets of its own network namespace", { skip: requires("root", "unshare", "setpriv", "ip") }, async (t) => {
  const run = (script: string) =>
    new Promise<{ code: number | null; ms: number }>((resolve) => {
      const startedMs = performance.now();
      const child = spawn("unshare", ["--net", "sh", "-c", script], { timeout: 30_000, stdio: "ignore" });
      child.on("close", (code) => resolve({ code, ms: performance.now() - startedMs }));
    });
  const wait = `setpriv --reuid 1337 --clear-groups "${process.execPath}" "${MAIN}" wait --for-app-end --admin-port 1 --timeout`;
  const listen = `"${process.execPath}" -e 'require("net").createServer().listen(0, "127.0.0.1"); setTimeout(() => process.exit(), 4000)'`;
  const [alone, bounded] = await Promise.all([
    run(`ip link set lo up; ${wait} 20s`),
    run(`ip link set lo up; ${listen} & sleep 1; ${wait} 1s`),
  ]);
  t.equal(alone.code, 0);
  t.ok(alone.ms < 15_000, `nobody is there: over after ${Math.round(alone.ms)} ms`);
  t.equal(bounded.code, 0, "the time is over, and the pod may stop");
});

import { spawnSync } from "node:child_process";
import t from "tap";
import { until } from "../e2e/until.ts";
import { freePort } from "./free-port.ts";
import { startProcess, waitForPort } from "./processes.ts";
import { requires } from "./requires.ts";

const NODE = process.execPath;

t.test("lines of the past and the future are found, on both streams", async (t) => {
  const program = startProcess(t, NODE, { args: ["-e", "console.log('port 80'); setTimeout(() => console.error('later'), 50)"] });
  t.equal((await program.line(/port (\d+)/))[1], "80");
  await program.line(/later/);
  t.equal((await program.line(/port (\d+)/))[1], "80", "again");
  t.equal(await program.exit(), 0);
});

t.test("a program that ends, is missing or stays silent is told with what it wrote", async (t) => {
  await t.rejects(startProcess(t, NODE, { args: ["-e", "console.log('oops'); process.exit(3)"] }).line(/never/), {
    message: /ended with 3[\s\S]*oops/,
  });
  await t.rejects(startProcess(t, "/no/such/program").line(/never/), { message: /ENOENT/ });
  await t.rejects(startProcess(t, NODE, { args: ["-e", "setTimeout(() => {}, 9e6)"] }).line(/never/, 100), { message: /100 ms passed/ });
});

t.test("children of the program are killed with it", { skip: requires("sh", "sleep", "ps") }, async (t) => {
  const program = startProcess(t, "sh", { args: ["-c", "sleep 1000 & echo child $!; wait"] });
  const child = Number((await program.line(/child (\d+)/))[1]);
  await program.kill();
  await program.kill();
  await until("the child is gone", 20_000, () => !isRunning(child));
  t.pass("its child is gone");
});

t.test("they are killed too when nothing of the test runs any more to do it", { skip: requires("sh", "sleep", "ps") }, async (t) => {
  const script = `
    import { startProcess } from ${JSON.stringify(new URL("processes.ts", import.meta.url).href)};
    const program = startProcess({ teardown() {} }, "sh", { args: ["-c", "sleep 1000 & echo child $!; wait"] });
    const [line] = await program.line(/child \\d+/);
    for (let ended = 0; ended < 40; ended += 1) await startProcess({ teardown() {} }, "true").kill();
    console.log(program.pid + " " + line);
    setTimeout(() => {}, 9e6);
  `;
  const killed = startProcess(t, NODE, { args: ["--input-type=module", "-e", script] });
  const pids = (await killed.line(/(\d+) child (\d+)/)).slice(1).map(Number);
  t.ok(pids.every(isRunning));
  killed.signal("SIGKILL");
  await until("the program and its child are gone", 20_000, () => !pids.some(isRunning));
  t.pass("the program and its child are gone");
});

/** A process that nobody has waited for yet is a zombie: dead, but still known by its id. */
function isRunning(pid: number): boolean {
  const { status, stdout } = spawnSync("ps", ["-o", "stat=", "-p", String(pid)], { encoding: "utf8" });
  return status === 0 && !stdout.trim().startsWith("Z");
}

t.test("the environment is what was given, and no more", async (t) => {
  process.env["REMORA_LEAK"] = "x";
  t.teardown(() => delete process.env["REMORA_LEAK"]);
  const program = startProcess(t, NODE, {
    args: ["-e", "console.log('leak=' + process.env.REMORA_LEAK + ' own=' + process.env.OWN)"],
    env: { OWN: "1" },
  });
  await program.line(/leak=undefined own=1/);
});

t.test("a port is awaited until it accepts", async (t) => {
  const port = await freePort();
  await t.rejects(waitForPort(port, "127.0.0.1", 60), { message: new RegExp(`127.0.0.1:${port}`) });
  startProcess(t, NODE, { args: ["-e", `setTimeout(() => require('net').createServer().listen(${port}, '127.0.0.1'), 100)`] });
  await waitForPort(port);
});

t.test("what is missing is named, and counts as there in continuous integration", async (t) => {
  const before = process.env["CI"];
  t.teardown(() => {
    if (before === undefined) delete process.env["CI"];
    else process.env["CI"] = before;
  });
  process.env["CI"] = "";
  t.equal(requires("no-such-program", "sh"), "needs no-such-program");
  t.equal(requires("sh"), false);
  t.equal(requires("python3:no_such_module"), "needs python3:no_such_module");
  process.env["CI"] = "true";
  t.equal(requires("no-such-program"), false);
});

import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { temporaryFolder } from "../support/temporary-folder.ts";

const LAUNCHER = join(import.meta.dirname, "..", "..", "bin", "launch.mjs");
const LOCK = {
  packages: { "": {}, "node_modules/a": { version: "1.0.0" }, "node_modules/other-platform": { version: "1.0.0", optional: true } },
};

/** Stands in for npm: notes that it was called, and installs what `npm ci` would, unless it is told to fail. */
const NPM = `
const fs = require("node:fs");
fs.appendFileSync("npm-calls", process.argv.slice(2).join(" ") + "\\n");
if (process.env.NPM_FAILS) process.exit(1);
fs.mkdirSync("node_modules/.bin", { recursive: true });
fs.writeFileSync("node_modules/.package-lock.json", JSON.stringify({ packages: { "node_modules/a": { version: "1.0.0" } } }));
fs.rmSync("node_modules/.bin/node", { force: true });
fs.symlinkSync(process.execPath, "node_modules/.bin/node");
`;

t.test("the launcher installs what is missing, once, and then runs the program", async (t) => {
  const project = temporaryFolder(t);
  mkdirSync(join(project, "bin"));
  cpSync(LAUNCHER, join(project, "bin", "launch.mjs"));
  writeFileSync(join(project, "package-lock.json"), JSON.stringify(LOCK));
  writeFileSync(join(project, "package.json"), "{}");
  writeFileSync(join(project, "npm.js"), NPM);
  const launch = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
    spawnSync(process.execPath, [join(project, "bin", "launch.mjs"), ...args], {
      encoding: "utf8",
      cwd: "/",
      env: { PATH: process.env["PATH"], npm_execpath: join(project, "npm.js"), ...env },
    });
  const calls = () => readFileSync(join(project, "npm-calls"), "utf8").trim().split("\n");

  const failed = launch(["node", "-e", "0"], { NPM_FAILS: "1" });
  t.equal(failed.status, 1);
  t.match(failed.stderr, "npm ci failed");

  const first = launch(["node", "-e", "console.log(process.argv[1]); process.exit(5)", "argument"], { NODE_ENV: "production" });
  t.equal(first.status, 5, "the exit code is the program's");
  t.equal(first.stdout, "argument\n", "and so is the output");
  t.match(first.stderr, "the packages are not installed yet, running npm ci once");
  t.match(calls().at(-1), /^ci --include=dev /, "with the development packages even in a production environment");

  t.equal(launch(["node", "-e", "0"]).status, 0);
  t.equal(calls().length, 2, "what is complete is left alone");

  writeFileSync(join(project, "package-lock.json"), JSON.stringify({ packages: { "node_modules/a": { version: "1.0.1" } } }));
  t.match(launch(["node", "-e", "0"]).stderr, "node_modules/a is not at 1.0.1", "an update of the lock file is noticed");

  writeFileSync(join(project, "package-lock.json"), JSON.stringify(LOCK));
  symlinkSync("/nowhere", join(project, "node_modules", ".bin", "gone"));
  t.equal(launch(["gone"]).status, 1);
  t.equal(launch(["node", "-e", "process.kill(process.pid, 'SIGTERM')"]).status, 143, "a signal is passed on as shells do");
});

// Runs one of the project's own programs with the project's own Node, installing both first when they are missing. It is plain JavaScript for
// any Node from 18 up, so that `npm start` and `npm test` work as the first commands in a fresh clone. Usage: launch.mjs PROGRAM [ARG…].
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { constants } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const OLDEST_NODE = 18;
const PROJECT = dirname(dirname(fileURLToPath(import.meta.url)));
const PROGRAMS = join(PROJECT, "node_modules", ".bin");

/** What keeps the installed packages from being usable; null when they are complete. */
function missing() {
  const wanted = readJson("package-lock.json");
  const installed = readJson(join("node_modules", ".package-lock.json"));
  if (installed === null) return "the packages are not installed yet";
  for (const [path, { version, optional, devOptional }] of Object.entries(wanted?.packages ?? {})) {
    if (path === "" || optional === true || devOptional === true) continue;
    if (installed.packages[path]?.version !== version) return `${path} is not at ${version}`;
  }
  const node = spawnSync(join(PROGRAMS, "node"), ["--version"], { encoding: "utf8" });
  return node.status === 0 ? null : "the project's own Node does not run";
}

function readJson(path) {
  const file = join(PROJECT, path);
  return existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : null;
}

function install(reason) {
  process.stderr.write(`remora: ${reason}, running npm ci once…\n`);
  const arguments_ = ["ci", "--include=dev", "--include=optional", "--no-audit", "--no-fund", "--loglevel=error"];
  const npm = process.env.npm_execpath;
  const [command, before] = npm === undefined || !npm.endsWith(".js") ? ["npm", []] : [process.execPath, [npm]];
  // A production environment would leave out the development packages, and with them the Node that runs the project.
  const env = { ...process.env, NODE_ENV: "development" };
  const { status } = spawnSync(command, [...before, ...arguments_], { cwd: PROJECT, env, stdio: ["ignore", 2, 2] });
  if (status !== 0) fail(`npm ci failed; its messages are above. Try it again by hand in ${PROJECT}.`);
  const still = missing();
  if (still !== null) fail(`after npm ci, ${still}. Is npm set to ignore install scripts? The package "node" needs its own.`);
}

function fail(message) {
  process.stderr.write(`remora: ${message}\n`);
  process.exit(1);
}

function run(program, arguments_) {
  const env = { ...process.env, PATH: `${PROGRAMS}${delimiter}${process.env.PATH ?? ""}` };
  const child = spawn(join(PROGRAMS, program), arguments_, { cwd: PROJECT, env, stdio: "inherit" });
  // A terminal's Ctrl-C reaches the program by itself; what was sent to this process alone is passed on.
  process.on("SIGINT", () => process.stdin.isTTY || child.kill("SIGINT"));
  for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  child.on("error", (error) => fail(`${program} could not be started: ${error.message}`));
  child.on("exit", (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 0)));
}

const [program, ...rest] = process.argv.slice(2);
if (program === undefined) fail("usage: launch.mjs PROGRAM [ARG…]");
if (Number.parseInt(process.versions.node, 10) < OLDEST_NODE)
  fail(`Node ${OLDEST_NODE} or later is needed to start; this is ${process.version}.`);
const reason = missing();
if (reason !== null) install(reason);
run(program, rest);

// `npm run bench -- footprint --modules`: what loading a package costs a process that has Node's own networking modules already: private memory (`RssAnon`) and
// CPU time, each the median over fresh processes. It tells which packages a sidecar should do without; what it saves in a bundle, where only
// the imported part is loaded, is for `footprint` to say.
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const PROJECT = join(import.meta.dirname, "..", "..");
const ROUNDS = 5;
const TIMEOUT_MS = 20_000;
/** After loading, until the memory is read: V8 compiles and collects in the background. */
const SETTLE_MS = 300;

/** What is loaded, by the name in the table; each a program that `require` is passed to. */
const LOADS: Readonly<Record<string, string>> = {
  "@grpc/grpc-js": 'load("@grpc/grpc-js")',
  "@grpc/proto-loader, with our two .proto files": `const loader = load("@grpc/proto-loader");
    for (const name of ["identity", "registry"]) loader.loadSync(${JSON.stringify(join(PROJECT, "core", "wire"))} + "/" + name + ".proto");`,
  "protobufjs, reader and writer": 'load("protobufjs/minimal.js")',
  pino: 'load("pino")',
  "prom-client": 'load("prom-client")',
  "prom-client, the three parts in use": 'for (const part of ["counter", "gauge", "registry"]) load("prom-client/lib/" + part + ".js")',
  "node-forge": 'load("node-forge")',
  "node-forge, ASN.1": 'load("node-forge/lib/asn1.js")',
  envalid: 'load("envalid")',
  "lru-cache": 'load("lru-cache")',
  "http-proxy": 'load("http-proxy")',
  koffi: 'load("koffi").load(null)',
  commander: 'load("commander")',
  "@opentelemetry/api": 'load("@opentelemetry/api")',
  "@opentelemetry/sdk-node": 'load("@opentelemetry/sdk-node")',
  ioredis: 'load("ioredis")',
  yaml: 'load("yaml")',
  "Node's node:http, imported as an ES module": 'await import("node:http")',
};

/** One line of the table. */
interface Cost {
  readonly privateMib: number;
  readonly cpuMs: number;
}

/** Measures all and prints the table. Rejects when a package cannot be loaded. */
export async function runModuleCost(): Promise<void> {
  const names = Object.keys(LOADS);
  const width = Math.max(...names.map((name) => name.length));
  for (const [name, source] of Object.entries(LOADS)) {
    const costs: Cost[] = [];
    for (let round = 0; round < ROUNDS; round += 1) costs.push(await measure(source));
    const [mib, ms] = [median(costs.map(({ privateMib }) => privateMib)), median(costs.map(({ cpuMs }) => cpuMs))];
    process.stdout.write(`${name.padEnd(width)}  ${mib.toFixed(1).padStart(5)} MiB  ${ms.toFixed(0).padStart(4)} ms\n`);
  }
}

async function measure(source: string): Promise<Cost> {
  const program = `
    const load = require("node:module").createRequire(${JSON.stringify(join(PROJECT, "package.json"))});
    for (const name of ["net", "tls", "http", "http2", "crypto", "zlib", "dns", "url", "fs/promises"]) require(name);
    const settle = () => new Promise((resolve) => setTimeout(resolve, ${SETTLE_MS}));
    const privateKib = () => Number(/RssAnon:\\s+(\\d+)/.exec(require("node:fs").readFileSync("/proc/self/status", "utf8"))[1]);
    (async () => {
      await settle();
      const [before, cpu] = [privateKib(), process.cpuUsage()];
      ${source};
      const { user, system } = process.cpuUsage(cpu);
      await settle();
      console.log(JSON.stringify({ privateMib: (privateKib() - before) / 1024, cpuMs: (user + system) / 1000 }));
    })();`;
  const env = { PATH: process.env["PATH"] }; // without certificates and Node settings of this machine
  const { stdout } = await run(process.execPath, ["--no-deprecation", "-e", program], { env, timeout: TIMEOUT_MS });
  return JSON.parse(stdout) as Cost; // printed by the program above
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

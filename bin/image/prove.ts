// Proves an image by running it: each proof is one sentence that holds or does not, with what was measured. What runs is confined as in a pod; the
// root file system is read-only for all of it.
import type { ChildProcess } from "node:child_process";
import { lstatSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { gzipSync } from "node:zlib";
import { type Confined, confine, innermost, kill } from "./confined.ts";
import { run } from "./commands.ts";

const MEGABYTE = 1_000_000;
const LARGEST_BYTES = 220 * MEGABYTE;
const UID = 1337;
const PATH = "/usr/local/bin:/usr/bin:/usr/sbin";
const REMORA = "/usr/local/bin/remora";
const STATE = "/var/run/remora";
const STARTS = 3;
const READY_WITHIN_MS = 30_000;
/** Nothing that could run what an intruder brings, or fetch it. */
const UNWANTED =
  /^(?:sh|bash|dash|ash|zsh|ksh|csh|busybox|env|perl|python[\d.]*|apt|apt-get|dpkg|apk|npm|npx|corepack|yarn|curl|wget|gcc|cc|ld|nc|su|sudo|mount)$/;

/** One proof. */
export interface Proof {
  readonly says: string;
  readonly holds: boolean;
  /** Figures, or what was found instead. */
  readonly found: string;
}

/** Proves the unpacked image in `root`. `commit` is what it should be made of. */
export async function proveImage(root: string, commit: string): Promise<readonly Proof[]> {
  const confined = confine(root, PATH);
  try {
    return [
      isSmall(root),
      hasNoTools(root),
      isRootsAlone(root),
      hasBill(root),
      ...commandsWork(confined, commit),
      redirects(confined),
      ...(await startsSidecars(confined)),
    ];
  } finally {
    confined.close();
  }
}

function isSmall(root: string): Proof {
  const bytes = Number(run("du", ["--bytes", "--summarize", root]).split("\t")[0]);
  const node = lstatSync(join(root, "usr/local/bin/node")).size;
  const packed = gzipSync(readFileSync(join(root, "usr/local/bin/node")), { level: 6 }).length;
  return {
    says: `unpacked it has at most ${LARGEST_BYTES / MEGABYTE} MB`,
    holds: bytes <= LARGEST_BYTES,
    found: `${megabytes(bytes)}, of which Node ${megabytes(node)} (${megabytes(packed)} packed), the bundle ${megabytes(sizeOf(join(root, "opt/remora")))}`,
  };
}

function hasNoTools(root: string): Proof {
  const found = entries(root).filter(
    ({ name, type }) => type !== "d" && UNWANTED.test(name.slice(name.lastIndexOf("/") + 1)) && !name.startsWith("usr/share/"),
  );
  const programs = entries(root).filter(
    ({ name, mode, type }) => type === "f" && (mode & 0o111) !== 0 && /^usr\/(?:local\/)?s?bin\//.test(name),
  );
  return {
    says: "it has no shell, no package manager and nothing that fetches files",
    holds: found.length === 0,
    found:
      found.length === 0
        ? `programs: ${programs
            .map(({ name }) => basename(name))
            .sort()
            .join(", ")}`
        : found.map(({ name }) => name).join(", "),
  };
}

function isRootsAlone(root: string): Proof {
  const open = entries(root)
    .filter(
      ({ name, mode, uid, type }) =>
        type !== "l" && ((mode & 0o6000) !== 0 || (mode & 0o022) !== 0 || uid !== 0) && name !== "tmp" && name !== "run/remora",
    )
    .map(({ name }) => name);
  return {
    says: "only root can change what is in it, and nothing makes anybody root",
    holds: open.length === 0,
    found: open.length === 0 ? "nothing is set-uid or writable but /tmp and /run/remora" : open.slice(0, 10).join(", "),
  };
}

function hasBill(root: string): Proof {
  const bill = JSON.parse(readFileSync(join(root, "opt/remora/sbom.cdx.json"), "utf8")) as {
    readonly components: readonly { readonly purl: string; readonly version: string }[];
  };
  const count = (kind: string) => bill.components.filter(({ purl }) => purl.startsWith(`pkg:${kind}/`)).length;
  const [npm, deb] = [count("npm"), count("deb")];
  const node = bill.components.find(({ purl }) => purl.startsWith("pkg:generic/node@"))?.version;
  return {
    says: "its bill of materials names what is in it",
    holds: npm > 0 && deb > 0 && node !== undefined,
    found: `CycloneDX 1.6: ${npm} npm packages, ${deb} Debian packages, Node ${node}`,
  };
}

function commandsWork(confined: Confined, commit: string): readonly Proof[] {
  const attempt = (says: string, words: readonly string[], expected: string): Proof => {
    const { status, stdout, stderr } = confined.run([REMORA, ...words], { uid: UID });
    const text = stdout + stderr;
    return {
      says,
      holds: status === 0 && text.includes(expected),
      found: status === 0 ? firstLine(stdout) : `exit ${status}: ${firstLine(text)}`,
    };
  };
  return [
    attempt("`remora version` names the commit", ["version"], `commit ${commit}`),
    attempt("`remora init --dry-run` prints rules", ["init", "--dry-run"], "REDIRECT"),
    attempt("`remora install` finds its manifests", ["install"], "kind: MutatingWebhookConfiguration"),
  ];
}

/** The init container: root with two capabilities. */
function redirects(confined: Confined): Proof {
  const how = { uid: 0, capabilities: ["net_admin", "net_raw"] };
  const made = confined.run([REMORA, "init"], how);
  const rules = confined.run(["/usr/sbin/iptables-save", "-t", "nat"], how).stdout;
  const undone = confined.run([REMORA, "init", "--undo"], how);
  const count = rules.split("\n").filter((line) => line.startsWith("-A REMORA")).length;
  return {
    says: "`remora init` programs iptables with NET_ADMIN and NET_RAW alone, and takes it back",
    holds: made.status === 0 && undone.status === 0 && count > 0,
    found: made.status === 0 ? `${count} rules` : firstLine(made.stderr + made.stdout),
  };
}

interface Start {
  readonly readyMs: number;
  readonly cpuMs: number;
  readonly cacheAccepted: number;
  readonly cacheRefused: number;
}

async function startsSidecars(confined: Confined): Promise<readonly Proof[]> {
  const state = `${STATE}/state`;
  const control = confined.start([REMORA, "control", "--state-dir", state], { uid: UID, env: { REMORA_KUBERNETES: "off" } });
  const controlMs = await untilLine(control, "control plane ready");
  const token = inside(control, [REMORA, "token", "--state-dir", state, "proof", "--ttl", "10m"]);
  const warm: Start[] = [];
  const cold: Start[] = [];
  for (let round = 0; round < STARTS; round += 1) {
    warm.push(await startSidecar(confined, token(), {}));
    cold.push(await startSidecar(confined, token(), { NODE_DISABLE_COMPILE_CACHE: "1" }));
  }
  const [ready, cpu, coldReady, coldCpu] = [
    median(warm.map(({ readyMs }) => readyMs)),
    median(warm.map(({ cpuMs }) => cpuMs)),
    median(cold.map(({ readyMs }) => readyMs)),
    median(cold.map(({ cpuMs }) => cpuMs)),
  ];
  const traced = await startSidecar(confined, token(), { NODE_DEBUG_NATIVE: "COMPILE_CACHE" });
  kill(control);
  return [
    { says: "`remora control` gets ready", holds: true, found: `${controlMs} ms` },
    {
      says: "`remora sidecar` joins it and gets ready",
      holds: true,
      found: `${ready} ms, ${cpu} ms CPU (medians of ${STARTS}; without the compile cache ${coldReady} ms, ${coldCpu} ms CPU)`,
    },
    {
      says: "the compile cache of the image is used",
      holds: traced.cacheAccepted > 0 && traced.cacheRefused === 0,
      found: `${traced.cacheAccepted} modules taken from it, ${traced.cacheRefused} refused`,
    },
  ];
}

async function startSidecar(confined: Confined, token: string, env: Readonly<Record<string, string>>): Promise<Start> {
  const variables = {
    REMORA_CAPTURE: "explicit",
    REMORA_SERVICE_ACCOUNT: "proof",
    REMORA_CONTROL_ADDRESS: "127.0.0.1:15010",
    REMORA_JOIN_TOKEN: token,
    ...env,
  };
  const sidecar = confined.start([REMORA, "sidecar"], { uid: UID, env: variables });
  let cacheAccepted = 0;
  let cacheRefused = 0;
  createInterface({ input: present(sidecar.stderr) }).on("line", (line) => {
    if (!line.includes("[compile cache]")) return;
    if (/was accepted|is accepted/.test(line)) cacheAccepted += 1;
    if (/rejected|mismatch/.test(line)) cacheRefused += 1;
  });
  const readyMs = await untilLine(sidecar, '"msg":"ready"');
  const cpuMs = cpuOf(innermost(sidecar));
  kill(sidecar);
  return { readyMs, cpuMs, cacheAccepted, cacheRefused };
}

/** Milliseconds since the program itself started. @throws Error with what it printed when it ends before */
function untilLine(child: ChildProcess, text: string): Promise<number> {
  const printed: string[] = [];
  child.stderr?.on("data", (chunk: Buffer) => printed.push(chunk.toString("utf8")));
  return new Promise((resolve, reject) => {
    const fail = (why: string) => reject(new Error(`${child.spawnargs.slice(-2).join(" ")} ${why}:\n${printed.join("").slice(-4000)}`));
    const timer = setTimeout(() => fail(`is not ready within ${READY_WITHIN_MS / 1000} s`), READY_WITHIN_MS);
    child.once("exit", (status, signal) => fail(`ended (${status ?? signal})`));
    createInterface({ input: present(child.stdout) }).on("line", (line) => {
      printed.push(`${line}\n`);
      if (!line.includes(text)) return;
      clearTimeout(timer);
      resolve(ageMs(innermost(child)));
    });
  });
}

/** Runs another command in the same mounts and processes, as `kubectl exec` would. */
function inside(child: ChildProcess, words: readonly string[]): () => string {
  const pid = String(innermost(child));
  const enter = ["--target", pid, "--mount", "--net", "--pid", "--root", "--wd", "--setuid", String(UID), "--setgid", String(UID)];
  return () => run("nsenter", [...enter, ...words], { env: { PATH: process.env["PATH"] ?? "" } }).trim();
}

/** Clock ticks are 10 ms (proc_pid_stat(5)). */
function statOf(pid: number): readonly string[] {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  return text.slice(text.lastIndexOf(")") + 2).split(" ");
}

function cpuOf(pid: number): number {
  const fields = statOf(pid);
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

function ageMs(pid: number): number {
  const uptimeMs = Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]) * 1000;
  return Math.round(uptimeMs - Number(statOf(pid)[19]) * 10);
}

interface Entry {
  /** Without the root and a slash. */
  readonly name: string;
  readonly mode: number;
  readonly uid: number;
  /** As find(1) prints it: f, d, l, … */
  readonly type: string;
}

function entries(root: string): readonly Entry[] {
  const printed = run("find", [root, "-xdev", "-mindepth", "1", "-printf", "%P\t%m\t%U\t%y\n"]);
  return printed
    .trim()
    .split("\n")
    .map((line) => {
      const [name = "", mode = "", uid = "", type = ""] = line.split("\t");
      return { name, mode: Number.parseInt(mode, 8), uid: Number(uid), type };
    });
}

function sizeOf(path: string): number {
  return Number(run("du", ["--bytes", "--summarize", path]).split("\t")[0]);
}

function megabytes(bytes: number): string {
  return `${(bytes / MEGABYTE).toFixed(1)} MB`;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.trunc(values.length / 2)] ?? 0;
}

function firstLine(text: string): string {
  return text.trim().split("\n")[0] ?? "";
}

function present<Value>(value: Value | null): Value {
  if (value === null) throw new Error("the output of a child is not read");
  return value;
}

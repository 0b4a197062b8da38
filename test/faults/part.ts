// One process of the mesh under test: the real program in a network namespace of its own, that can be killed, frozen, starved and started again as it
// was. It dies with the harness, whatever kills that. What is done to it and when is the faults' business.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { get } from "node:http";
import { until } from "../e2e/until.ts";
import type { TestNamespace } from "../support/netns.ts";

const READY_TIMEOUT_MS = 120_000;
const CALL_TIMEOUT_MS = 2_000;
const MAX_LOG_CHARS = 400_000;
const TICKS_PER_S = 100;

/** What to run and where. */
export interface PartOptions {
  readonly name: string;
  readonly namespace: TestNamespace;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** The sidecar's user may read this repository wherever it lies; default root. */
  readonly uid?: number;
  /** Where it answers `/ready`; null: see `upText`. */
  readonly adminPort: number | null;
  /** What it writes when it is up; default: it is up as soon as it runs. */
  readonly upText?: string;
  /** Takes each line of its standard output, which then is no part of its log. */
  readonly onLine?: (line: string) => void;
}

/** A process that faults are done to. */
export class Part {
  readonly name: string;
  readonly namespace: TestNamespace;
  readonly #options: PartOptions;
  #child: ChildProcess | null = null;
  #exited: Promise<void> = Promise.resolve();
  #log = "";
  #isFrozen = false;

  constructor(options: PartOptions) {
    this.#options = options;
    this.name = options.name;
    this.namespace = options.namespace;
  }

  get pid(): number {
    return this.#child?.pid ?? -1;
  }

  get isRunning(): boolean {
    return this.#child !== null && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** The last part of what its last process wrote. */
  get log(): string {
    return this.#log;
  }

  /** Starts the program, with `env` over its own environment; {@link Part.ready} says when it is up. */
  spawn(env: Readonly<Record<string, string>> = {}): void {
    const { argv, uid, namespace, onLine } = this.#options;
    const user = uid === undefined ? [] : [`--reuid=${uid}`, `--regid=${uid}`, "--clear-groups"];
    const mayRead = uid === undefined ? [] : ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"];
    // Only for the program itself: what a library that is loaded before it leaves behind would be another user's.
    const settings = Object.entries(env).map(([key, value]) => `${key}=${value}`);
    const command = ["setpriv", ...user, ...mayRead, "--pdeathsig=KILL", "--", "env", ...settings, ...argv];
    const child = spawn("ip", ["netns", "exec", namespace.name, ...command], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { PATH: process.env["PATH"], HOME: "/nonexistent", ...this.#options.env },
    });
    this.#child = child;
    this.#log = ""; // of the last process only
    this.#isFrozen = false;
    this.#exited = new Promise((done) => child.once("exit", () => done()));
    child.on("error", (error) => this.#note(`${error.message}\n`));
    child.stderr.setEncoding("utf8").on("data", (text: string) => this.#note(text));
    if (onLine === undefined) child.stdout.setEncoding("utf8").on("data", (text: string) => this.#note(text));
    else child.stdout.setEncoding("utf8").on("data", lines(onLine));
  }

  #note(text: string): void {
    this.#log = (this.#log + text).slice(-MAX_LOG_CHARS);
  }

  /** Resolves when it says that it is ready. @throws Error with its log when it ends before, or takes longer than two minutes */
  async ready(): Promise<void> {
    const { adminPort, upText = "" } = this.#options;
    await until(`${this.name} is ready`, READY_TIMEOUT_MS, async () => {
      if (!this.isRunning) throw new Error(`${this.name} ended with ${this.#child?.exitCode}:\n${this.#log.slice(-4_000)}`);
      return adminPort === null ? this.#log.includes(upText) : (await this.ask("/ready")).status === 200;
    });
  }

  async start(env: Readonly<Record<string, string>> = {}): Promise<void> {
    this.spawn(env);
    await this.ready();
  }

  /** SIGKILL; resolves when it is gone. */
  async kill(): Promise<void> {
    if (this.isRunning) this.#child?.kill("SIGKILL");
    await this.#exited;
  }

  /** Killed and started again, with `env` over its own environment. */
  async restart(env: Readonly<Record<string, string>> = {}): Promise<void> {
    await this.kill();
    await this.start(env);
  }

  /** Resolves when it ended by itself; false when it did not within `timeoutMs`. */
  async ended(timeoutMs: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<boolean>((done) => (timer = setTimeout(() => done(false), timeoutMs)));
    const ended = await Promise.race([this.#exited.then(() => true), late]);
    clearTimeout(timer);
    return ended;
  }

  freeze(): void {
    if (!this.isRunning) return;
    this.#child?.kill("SIGSTOP");
    this.#isFrozen = true;
  }

  thaw(): void {
    if (!this.#isFrozen || !this.isRunning) return;
    this.#child?.kill("SIGCONT");
    this.#isFrozen = false;
  }

  /** GET on its admin port; status 0 when it does not answer. */
  ask(path: string): Promise<{ readonly status: number; readonly body: string }> {
    const url = `http://${this.namespace.ipv4}:${this.#options.adminPort}${path}`;
    return new Promise((done) => {
      const failed = () => done({ status: 0, body: "" });
      const request = get(url, { agent: false, signal: AbortSignal.timeout(CALL_TIMEOUT_MS) }, (response) => {
        let body = "";
        response.setEncoding("utf8").on("data", (text: string) => (body += text));
        response.on("end", () => done({ status: response.statusCode ?? 0, body }));
        response.on("error", failed);
      });
      request.on("error", failed);
    });
  }

  /** A metric without labels, or the sum over its labels; null when it does not answer or has none of that name. */
  async metric(name: string): Promise<number | null> {
    const { status, body } = await this.ask("/metrics");
    const found = [...body.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, "gm"))];
    return status !== 200 || found.length === 0 ? null : found.reduce((sum, [, value]) => sum + Number(value), 0);
  }

  /** User and system time so far, ms. */
  cpuMs(): number {
    const fields = readFileSync(`/proc/${this.pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
    return ((Number(fields[11]) + Number(fields[12])) * 1_000) / TICKS_PER_S;
  }

  openFiles(): number {
    return readdirSync(`/proc/${this.pid}/fd`).length;
  }

  /** Sets how many files it may open from now on; null: as many as it may at all. */
  limitFiles(most: number | null): void {
    const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync(`/proc/${this.pid}/limits`, "utf8"))?.[1] ?? "1024";
    const uid = this.#options.uid ?? 0;
    // As its own user: another one's limits may not be changed without a capability that not every machine grants.
    const asUser = ["--reuid", String(uid), "--regid", String(uid), "--clear-groups", "--"];
    const command = ["prlimit", "--pid", String(this.pid), `--nofile=${most ?? hard}:${hard}`];
    const done = spawnSync("setpriv", [...asUser, ...command], { encoding: "utf8" });
    if (done.status !== 0) throw new Error(`prlimit of ${this.name}: ${done.stderr}`);
  }
}

/** Cuts chunks into lines. */
function lines(onLine: (line: string) => void): (text: string) => void {
  let rest = "";
  return (text) => {
    const parts = (rest + text).split("\n");
    rest = parts.pop() ?? "";
    for (const part of parts) onLine(part);
  };
}

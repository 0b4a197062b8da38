// One process of one container: started in the pod's network namespace and in a mount namespace of its own. Owns the process and the commands run
// beside it; what it sees and as whom it runs is mount-script.ts and privileges.ts, when to start and stop it is the pod's business.
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import type { ContainerLog } from "./container-log.ts";
import { MOUNT_RUN, type MountPlan, mountScript } from "./mount-script.ts";
import type { Container, Pod } from "./pod-spec.ts";
import { DIE_WITH_TEST, privilegeArgs } from "./privileges.ts";

/** A container image as this machine can run it. */
export interface LocalImage {
  readonly entrypoint: readonly string[];
  readonly cmd?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** The image's USER; default 0. */
  readonly user?: number;
}

/** Everything that starting a container needs. */
export interface ContainerPlan extends MountPlan {
  readonly pod: Pod;
  readonly image: LocalImage;
  readonly env: Readonly<Record<string, string>>;
  readonly networkNamespace: string;
}

export type ExitStatus = { readonly code: number | null; readonly signal: string | null };

export interface ExecResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ExecOptions {
  /** Default 10000; at the end of it the command is killed. */
  readonly timeoutMs?: number;
  readonly input?: string;
  /** Run as this user instead of the container's. */
  readonly uid?: number;
}

export interface ContainerProcess {
  readonly pid: number;
  /** Resolves when the process has ended. Never rejects. */
  readonly exited: Promise<ExitStatus>;
  readonly isRunning: () => boolean;
  /** Signals the whole process group when it is SIGKILL, else the main process only, as a kubelet does. */
  signal(signal: NodeJS.Signals): void;
  /** Runs a command in the container's namespaces, as the container's user. */
  exec(argv: readonly string[], options?: ExecOptions): Promise<ExecResult>;
}

/** Starts the process. @throws Error where the spec forbids it, e.g. runAsNonRoot with user 0 */
export function startContainer(plan: ContainerPlan, log: ContainerLog): ContainerProcess {
  const whose = { pod: plan.pod, container: plan.container, imageUser: plan.image.user ?? 0 };
  const privileges = privilegeArgs(whose);
  const argv = commandLine(plan.container, plan.image);
  // Every step replaces the process by the next, so that the child's pid is the app's.
  const child = spawn(
    "ip",
    ["netns", "exec", plan.networkNamespace, "sh", "-c", mountScript(plan), "sh", "setpriv", ...privileges, "--", ...argv],
    {
      detached: true, // its own process group, to be killed as a whole
      stdio: ["ignore", log.fd, log.fd],
      env: { ...plan.env },
    },
  );
  const exited = new Promise<ExitStatus>((resolve) => {
    child.once("error", (error) => {
      log.append(`pod runner: ${error.message}\n`);
      resolve({ code: 127, signal: null });
    });
    child.once("exit", (code, signal) => resolve({ code, signal }));
  });
  const isRunning = () => child.exitCode === null && child.signalCode === null && child.pid !== undefined;
  return {
    pid: child.pid ?? -1,
    exited,
    isRunning,
    signal(signal) {
      if (child.pid !== undefined && isRunning()) killQuietly(signal === "SIGKILL" ? -child.pid : child.pid, signal);
    },
    async exec(command, options = {}) {
      await settled(child);
      const args = [
        ...enterArgs(child),
        "--",
        "env",
        "-u",
        "NODE_OPTIONS",
        "setpriv",
        ...privilegeArgs(whose, options.uid),
        "--",
        ...command,
      ];
      return collect(spawn("nsenter", args, { env: { ...plan.env } }), options);
    },
  };
}

/** Waits until the process is the container's own program: before, it is not yet in its namespaces. At most 2 s. */
async function settled(child: ChildProcess): Promise<void> {
  for (let i = 0; i < 400 && child.exitCode === null && isBeingSetUp(child.pid); i += 1)
    await new Promise((resolve) => setTimeout(resolve, 5));
}

function isBeingSetUp(pid: number | undefined): boolean {
  try {
    const commandLine = readFileSync(`/proc/${pid}/cmdline`, "utf8");
    return commandLine.includes(MOUNT_RUN) || commandLine.includes(DIE_WITH_TEST);
  } catch {
    return false; // it ended
  }
}

/** Waits for a command, with a deadline. A command that cannot be started ends with code 127. */
export function collect(child: ChildProcess, { timeoutMs = 10_000, input = "" }: ExecOptions): Promise<ExecResult> {
  return new Promise((resolve) => {
    let stdout = "";
    let stderr = "";
    const timer = setTimeout(() => {
      stderr += `pod runner: killed after ${timeoutMs} ms\n`;
      child.kill("SIGKILL");
    }, timeoutMs);
    child.stdout?.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr?.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    child.stdin?.on("error", () => {}); // the command may end without reading its input
    child.stdin?.end(input);
    child.once("error", (error) => {
      clearTimeout(timer);
      resolve({ code: 127, stdout, stderr: stderr + error.message });
    });
    child.once("close", (code) => {
      clearTimeout(timer);
      resolve({ code, stdout, stderr });
    });
  });
}

/** Kubernetes' rule: `command` replaces the image's entrypoint and its cmd, `args` replaces its cmd. */
function commandLine(container: Container, image: LocalImage): readonly string[] {
  if (container.command !== undefined) return [...container.command, ...(container.args ?? [])];
  return [...image.entrypoint, ...(container.args ?? image.cmd ?? [])];
}

function enterArgs(child: ChildProcess): readonly string[] {
  return ["--target", String(child.pid), "--mount", "--net", "--wd=/"];
}

/** The process may have ended meanwhile. */
function killQuietly(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

// One process of one container: started in the pod's network namespace and in a mount namespace of its own, where its volumes are at their mount
// paths, as the user and with the capabilities that its security context gives. Owns the process, its log and commands run beside it; when to start
// and stop it is the pod's business.
import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, closeSync, existsSync, mkdirSync, openSync, readFileSync, realpathSync, statSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Container, Pod, SecurityContext } from "./pod-spec.ts";

/** Bound of one container's log; the oldest part goes. */
const MAX_LOG_CHARS = 1_000_000;

/** Where a container sees this repository, whoever may read the path it really lies at. */
export const REPOSITORY_MOUNT = "/run/.repository";

/** Marks of the steps before the container's own program runs. */
const MOUNT_RUN = "mount -t tmpfs -o mode=0755 tmpfs /run";
const DIE_WITH_TEST = "--pdeathsig=KILL";

/** What containerd grants by default. */
const DEFAULT_CAPABILITIES = [
  "chown",
  "dac_override",
  "fowner",
  "fsetid",
  "kill",
  "setgid",
  "setuid",
  "setpcap",
  "net_bind_service",
  "net_raw",
  "sys_chroot",
  "mknod",
  "audit_write",
  "setfcap",
];

/** A container image as this machine can run it. */
export interface LocalImage {
  readonly entrypoint: readonly string[];
  readonly cmd?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** The image's USER; default 0. */
  readonly user?: number;
}

/** Everything that starting a container needs. */
export interface ContainerPlan {
  readonly pod: Pod;
  readonly container: Container;
  readonly image: LocalImage;
  readonly env: Readonly<Record<string, string>>;
  readonly networkNamespace: string;
  /** The repository's root, mounted read-only at {@link REPOSITORY_MOUNT}. */
  readonly repository: string;
  readonly volumeFolders: ReadonlyMap<string, string>;
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

/**
 * A log that several processes of one container write to, one after the other. It is a file while the pod lives: programs that open /dev/stdout
 * themselves, as nginx does, cannot open the socket pair that Node would give them.
 */
export interface ContainerLog {
  readonly fd: number;
  readonly append: (text: string) => void;
  readonly text: () => string;
  /** Keeps the last part of the text in memory and lets the file go. Idempotent. */
  readonly close: () => void;
}

export function createContainerLog(path: string): ContainerLog {
  const fd = openSync(path, "a", 0o666);
  chmodSync(path, 0o666);
  let kept: string | null = null;
  const read = () => readFileSync(path, "utf8").slice(-MAX_LOG_CHARS);
  return {
    fd,
    append: (text) => {
      if (kept === null) writeSync(fd, text);
      else kept += text;
    },
    text: () => kept ?? read(),
    close() {
      if (kept !== null) return;
      kept = read();
      closeSync(fd);
    },
  };
}

/** Starts the process. @throws Error where the spec forbids it, e.g. runAsNonRoot with user 0 */
export function startContainer(plan: ContainerPlan, log: ContainerLog): ContainerProcess {
  const privileges = privilegeArgs(plan);
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
      const args = [...enterArgs(child), "--", "setpriv", ...privilegeArgs(plan, options.uid), "--", ...command];
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

function privilegeArgs({ pod, container, image }: ContainerPlan, asUid?: number): readonly string[] {
  const own: SecurityContext = { ...pod.spec.securityContext, ...container.securityContext };
  const uid = asUid ?? own.runAsUser ?? image.user ?? 0;
  if (own.runAsNonRoot === true && uid === 0) throw new Error(`container ${container.name} has runAsNonRoot and would run as root`);
  const gid = own.runAsGroup ?? image.user ?? 0;
  const capabilities = grantedCapabilities(own);
  return [
    `--reuid=${uid}`,
    `--regid=${gid}`,
    own.fsGroup === undefined ? "--clear-groups" : `--groups=${own.fsGroup}`,
    "--inh-caps=-all",
    ...(own.privileged === true ? [] : [`--bounding-set=-all${capabilities.map((name) => `,+${name}`).join("")}`]),
    ...(own.allowPrivilegeEscalation === false ? ["--no-new-privs"] : []),
    // A test process that is killed takes its pods with it.
    DIE_WITH_TEST,
  ];
}

function grantedCapabilities(context: SecurityContext): readonly string[] {
  const plain = (names: readonly string[] = []) => names.map((name) => name.toLowerCase().replace(/^cap_/, ""));
  const dropped = plain(context.capabilities?.drop);
  const kept = dropped.includes("all") ? [] : DEFAULT_CAPABILITIES.filter((name) => !dropped.includes(name));
  return [...new Set([...kept, ...plain(context.capabilities?.add)])];
}

/** Shell text that builds the container's view of the file system and then becomes its arguments. */
function mountScript(plan: ContainerPlan): string {
  const lines = ["set -e", MOUNT_RUN, ...bindLines(plan.repository, REPOSITORY_MOUNT, true)];
  for (const mount of plan.container.volumeMounts ?? []) {
    const folder = plan.volumeFolders.get(mount.name);
    if (folder === undefined) throw new Error(`container ${plan.container.name} mounts ${mount.name}, which is no volume of the pod`);
    const source = mount.subPath === undefined ? folder : join(folder, mount.subPath);
    makeMountPoint(mount.mountPath);
    lines.push(...bindLines(source, mount.mountPath, mount.readOnly === true));
  }
  const context = plan.container.securityContext;
  if (context?.readOnlyRootFilesystem === true) lines.push("mount -o remount,ro /run", "mount -o remount,bind,ro /");
  if (plan.container.workingDir !== undefined) lines.push(`cd ${quote(plan.container.workingDir)}`);
  else lines.push("cd /");
  return [...lines, 'exec "$@"'].join("\n");
}

function bindLines(source: string, target: string, isReadOnly: boolean): readonly string[] {
  const isFile = existsSync(source) && statSync(source).isFile();
  const makePoint = isFile
    ? `mkdir -p ${quote(dirname(target))}; [ -e ${quote(target)} ] || : > ${quote(target)}`
    : `mkdir -p ${quote(target)}`;
  const bind = `mount --bind ${quote(source)} ${quote(target)}`;
  return isReadOnly ? [makePoint, bind, `mount -o remount,bind,ro ${quote(target)}`] : [makePoint, bind];
}

/** Mount points outside /run are folders of the host; those that are missing are made here and listed in {@link madeMountPoints}. */
function makeMountPoint(path: string): void {
  let existing = path;
  while (!existsSync(existing)) existing = dirname(existing);
  const real = realpathSync(existing);
  if (real === "/run" || real.startsWith("/run/") || existing === path) return;
  const first = mkdirSync(path, { recursive: true });
  if (first !== undefined) madeMountPoints.push(path);
}

/** Folders of the host that were made as mount points, to be removed (while empty) at the end. */
export const madeMountPoints: string[] = [];

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** The process may have ended meanwhile. */
function killQuietly(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

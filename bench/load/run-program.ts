// A load generator as a child: what it printed, or why it failed. It ends with the benchmark, whatever ends that.
import { spawn } from "node:child_process";

/** Beyond the duration itself. */
const SLACK_MS = 15_000;

/** Runs a program to its end. Rejects when it fails, or takes 15 s longer than `durationS`. */
export function runProgram(options: {
  readonly command: string;
  readonly arguments: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly durationS: number;
}): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(options.command, [...options.arguments], { env: options.env, stdio: ["ignore", "pipe", "pipe"] });
    const kill = () => child.kill("SIGKILL");
    const timer = setTimeout(kill, options.durationS * 1_000 + SLACK_MS);
    process.on("exit", kill);
    let [stdout, stderr] = ["", ""];
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    child.on("error", reject);
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      process.off("exit", kill);
      if (code === 0) resolve(stdout);
      else reject(new Error(`${options.command} ended with ${code ?? signal}: ${stderr}${stdout}`));
    });
  });
}

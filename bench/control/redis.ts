// A redis-server for the store `redis`: one process, nothing on disk, as for leases that expire anyway.
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { freePorts } from "../../cli/run/free-ports.ts";
import type { StartProcess } from "../load/processes.ts";

const READY_MS = 10_000;

/** Starts it and waits until it listens. */
export async function startRedisServer(folder: string, start: StartProcess): Promise<{ readonly pid: number; readonly url: string }> {
  const [port = 0] = await freePorts(1);
  const words = ["--port", `${port}`, "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "no"];
  const { pid } = await start({ command: "redis-server", arguments: words, env: { PATH: process.env["PATH"] ?? "" }, stdio: "ignore" });
  const endMonoMs = performance.now() + READY_MS;
  while (!(await listens(port))) {
    if (performance.now() > endMonoMs) throw new Error("redis-server does not listen");
    await sleep(20);
  }
  return { pid, url: `redis://127.0.0.1:${port}` };
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}

// Probes and lifecycle handlers of a container, run as a kubelet runs them: HTTP and TCP from outside the pod against its address, commands inside it.
// Owns one attempt and the loop around it; what follows from success or failure is the pod's business.
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { connect } from "node:net";
import type { ContainerProcess } from "./container.ts";
import { type Container, type Handler, type Probe, portNumber } from "./pod-spec.ts";

/** Until a probe first succeeds it is tried this often, whatever its period: tests do not wait for kubelet's leisure. */
const FIRST_SUCCESS_PERIOD_MS = 100;

export interface ProbeTarget {
  readonly container: Container;
  readonly process: ContainerProcess;
  /** The pod's address that a kubelet would dial. */
  readonly address: string;
}

/** One attempt. Null when it succeeded, else why not. Never rejects. */
export async function attempt(handler: Handler, target: ProbeTarget, timeoutMs: number): Promise<string | null> {
  if (handler.exec !== undefined) {
    const { code, stdout, stderr } = await target.process.exec(handler.exec.command, { timeoutMs });
    return code === 0 ? null : `exit status ${code}: ${(stderr || stdout).trim()}`;
  }
  if (handler.httpGet !== undefined) return attemptHttp(handler.httpGet, target, timeoutMs);
  if (handler.tcpSocket !== undefined) {
    return attemptTcp(handler.tcpSocket.host ?? target.address, portNumber(target.container, handler.tcpSocket.port), timeoutMs);
  }
  if (handler.sleep !== undefined) {
    await new Promise((resolve) => setTimeout(resolve, (handler.sleep?.seconds ?? 0) * 1000));
    return null;
  }
  throw new Error(`pod runner: container ${target.container.name} has a probe of a kind that is not supported`);
}

/** The outcomes of a probe, from the first attempt on. */
export interface ProbeListener {
  readonly onSuccess: () => void;
  /** `failures` in a row, at least one. */
  readonly onFailure: (failures: number, why: string) => void;
}

/** Runs the probe until `signal` aborts. Before its first success it is tried every 100 ms, and a failure then counts by elapsed periods. */
export async function runProbe(probe: Probe, target: ProbeTarget, listener: ProbeListener, signal: AbortSignal): Promise<void> {
  const periodMs = (probe.periodSeconds ?? 10) * 1000;
  const timeoutMs = (probe.timeoutSeconds ?? 1) * 1000;
  await pause((probe.initialDelaySeconds ?? 0) * 1000, signal);
  const startedMs = Date.now();
  let hasSucceeded = false;
  let failures = 0;
  while (!signal.aborted) {
    const why = await attempt(probe, target, timeoutMs);
    if (signal.aborted) return;
    if (why === null) {
      hasSucceeded = true;
      failures = 0;
      listener.onSuccess();
    } else {
      failures = hasSucceeded ? failures + 1 : 1 + Math.floor((Date.now() - startedMs) / periodMs);
      listener.onFailure(failures, why);
    }
    await pause(hasSucceeded ? periodMs : Math.min(periodMs, FIRST_SUCCESS_PERIOD_MS), signal);
  }
}

export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted || ms <= 0) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });
}

function attemptHttp(get: NonNullable<Handler["httpGet"]>, target: ProbeTarget, timeoutMs: number): Promise<string | null> {
  const headers = Object.fromEntries([
    ["user-agent", "kube-probe/1.34"],
    ...(get.httpHeaders ?? []).map(({ name, value }) => [name, value]),
  ]);
  const options = {
    host: get.host ?? target.address,
    port: portNumber(target.container, get.port),
    path: get.path ?? "/",
    headers,
    timeout: timeoutMs,
    agent: false as const,
    rejectUnauthorized: false, // as a kubelet: a probe proves life, not identity
  };
  return new Promise((resolve) => {
    const request = (get.scheme?.toUpperCase() === "HTTPS" ? httpsRequest : httpRequest)(options, (response) => {
      response.resume();
      const status = response.statusCode ?? 0;
      resolve(status >= 200 && status < 400 ? null : `HTTP status ${status}`);
    });
    const timer = setTimeout(() => request.destroy(new Error(`no answer in ${timeoutMs} ms`)), timeoutMs);
    request.once("close", () => clearTimeout(timer));
    request.once("error", (error) => resolve(error.message));
    request.end();
  });
}

function attemptTcp(host: string, port: number, timeoutMs: number): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: timeoutMs });
    const done = (why: string | null) => {
      socket.destroy();
      resolve(why);
    };
    socket.once("connect", () => done(null));
    socket.once("timeout", () => done(`no answer in ${timeoutMs} ms`));
    socket.once("error", (error) => done(error.message));
  });
}

// Scripts of gRPC calls that are played alike by clients of two implementations (grpc-js and grpc-core) against servers of both, directly or through the mesh: what a
// library makes of a call without the mesh is what it has to make of it with it. The programs are apps/phases-*.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Test } from "tap";
import { type HelperProcess, startProcess } from "./processes.ts";
import { temporaryFolder } from "./temporary-folder.ts";

/** Each is a client and a server. */
export type Implementation = "grpc-js" | "grpc-core";

/** What a call has come to at the server: before its headers, behind them, behind the first message of the request, its end, the first message of the answer. */
export type Phase = "start" | "headers" | "message" | "half-close" | "answer";

/** A call of a script. */
export interface CallOrder {
  /** Unique in its script. */
  readonly name: string;
  readonly method: "Unary" | "Collect" | "Repeat" | "Chat";
  /** Messages of a streamed request, default 1; bytes of each, default 5; what they consist of. */
  readonly messages?: number;
  readonly bytes?: number;
  readonly fill?: number;
  /** The request is not ended. */
  readonly open?: boolean;
  /** Values of `-bin` in base64. */
  readonly metadata?: readonly (readonly [name: string, value: string])[];
  readonly cancel?: "at once" | "later";
  /** Default 60 s. */
  readonly deadlineMs?: number;
}

/** How a call ended, as its library says. */
export interface CallEnd {
  readonly name: string;
  readonly code: number;
  readonly details: string;
  /** Bytes of each message of the answer. */
  readonly sizes: readonly number[];
  headers: readonly (readonly [name: string, value: string])[];
  readonly trailers: readonly (readonly [name: string, value: string])[];
}

const APPS = join(import.meta.dirname, "apps");
const READY_MS = 20_000;

/** A running server. */
export interface ScriptServer {
  readonly process: HelperProcess;
  readonly port: number;
  /** Names of the calls of which it said so, in alphabetical order. */
  names(what: "reached" | "cancelled"): string[];
  /** How many of them begin with `prefix`. */
  count(what: "reached" | "cancelled", prefix: string): number;
}

/** Starts a server on loopback. */
export async function startScriptServer(t: Test, implementation: Implementation, port = 0): Promise<ScriptServer> {
  const process = run(t, implementation, "server", [String(port)]);
  const [, found] = await process.line(/^listening on (\d+)/, READY_MS);
  const names = (what: string) =>
    process.lines
      .filter((line) => line.startsWith(`${what} `))
      .map((line) => line.slice(what.length + 1))
      .sort();
  const count = (what: string, prefix: string) => {
    let found = 0;
    for (const line of process.lines) if (line.startsWith(`${what} ${prefix}`)) found += 1;
    return found;
  };
  return { process, port: Number(found), names, count };
}

/** A client that plays a script. */
export interface ScriptClient {
  readonly process: HelperProcess;
  /** How the calls ended, by name; rejects when that takes longer than 30 s. */
  ended(): Promise<ReadonlyMap<string, CallEnd>>;
}

/** Starts a client that makes all calls at once. */
export function playScript(
  t: Test,
  implementation: Implementation,
  to: { readonly port: number; readonly authority: string },
  script: readonly CallOrder[],
  options: { /** Time between PINGs on a connection without data; 0 for none. */ readonly keepaliveMs?: number } = {},
): ScriptClient {
  const file = join(temporaryFolder(t), "script.json");
  writeFileSync(file, JSON.stringify(script));
  const process = run(t, implementation, "client", [`127.0.0.1:${to.port}`, to.authority, file, String(options.keepaliveMs ?? 0)]);
  return {
    process,
    async ended() {
      await process.line(/^all done/, 30_000);
      const ends = process.lines.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line) as CallEnd);
      return new Map(ends.map((end) => [end.name, end]));
    },
  };
}

function run(t: Test, implementation: Implementation, role: "client" | "server", args: readonly string[]): HelperProcess {
  if (implementation === "grpc-core") return startProcess(t, "python3", { args: [join(APPS, `phases_${role}.py`), ...args] });
  return startProcess(t, process.execPath, { args: [join(APPS, `phases-${role}.ts`), ...args] });
}

// Opaque TCP in bulk as a program: `bulk.ts OPTIONS-AS-JSON` asks for endless answers over raw connections, counts the bytes that come, and prints a
// BulkResult. Only the first bytes of a connection are looked at; all go into one buffer that is used again.
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** What to ask for. */
export interface BulkOptions {
  readonly url: string;
  /** CONNECT this first; null: the port leads there by itself. */
  readonly tunnel: string | null;
  readonly connections: number;
  readonly durationS: number;
}

/** What came. */
export interface BulkResult {
  readonly bytes: number;
  /** Connections that were refused, ended early or said something else. */
  readonly failed: number;
  readonly durationMs: number;
}

const READ_BYTES = 262_144;
/** Enough answers of the origin that none runs out of them. */
const PIPELINED = 500;
const SHOWN_CHARACTERS = 100;
const OPEN_TIMEOUT_MS = 10_000;
const OK = /^HTTP\/1\.[01] 200 /;

/** Runs the load to its end. */
export async function runBulk({ url, tunnel, connections, durationS }: BulkOptions): Promise<BulkResult> {
  let bytes = 0;
  let failed = 0;
  const { hostname, port, pathname, host } = new URL(url);
  const request = `GET ${pathname} HTTP/1.1\r\nHost: ${host}\r\n\r\n`.repeat(PIPELINED);

  const open = (): Promise<Socket> =>
    new Promise((resolve, reject) => {
      let step: "tunnel" | "answer" | "flowing" = tunnel === null ? "answer" : "tunnel";
      const first = (text: string) => {
        if (!OK.test(text)) return socket.destroy(new Error(`asked for 200, got ${text.slice(0, SHOWN_CHARACTERS)}`));
        if (step === "tunnel") {
          step = "answer";
          socket.write(request);
          return;
        }
        step = "flowing";
        resolve(socket);
      };
      const socket = connect({
        host: hostname,
        port: Number(port),
        onread: {
          buffer: Buffer.allocUnsafe(READ_BYTES),
          callback: (size, buffer) => {
            bytes += size;
            if (step !== "flowing") first(Buffer.from(buffer.buffer, buffer.byteOffset, size).toString("latin1"));
            return true;
          },
        },
      });
      socket.setTimeout(OPEN_TIMEOUT_MS, () => socket.destroy(new Error("nothing came")));
      socket.on("error", reject);
      socket.on("close", () => reject(new Error("closed before the first answer")));
      socket.write(tunnel === null ? request : `CONNECT ${tunnel} HTTP/1.1\r\nHost: ${tunnel}\r\n\r\n`);
    });

  const sockets = await Promise.all(Array.from({ length: connections }, open));
  const failures = sockets.map((socket) => {
    const fail = () => (failed += 1);
    socket.once("close", fail);
    return () => socket.off("close", fail);
  });
  const startedMonoMs = performance.now();
  bytes = 0;
  await sleep(durationS * 1_000);
  const durationMs = performance.now() - startedMonoMs;
  for (const forget of failures) forget();
  for (const socket of sockets) socket.destroy();
  return { bytes, failed, durationMs };
}

if (import.meta.main) {
  const options = JSON.parse(process.argv[2] ?? "{}") as BulkOptions; // from our own parent
  try {
    process.stdout.write(`${JSON.stringify(await runBulk(options))}\n`);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exit(1); // other connections may still be open
  }
}

// nginx, as the origin (small answers from memory, big ones by sendfile) and as the contender to beat: one process a hop, keep-alive and TLS 1.3 with
// client certificates between the hops, no access log. What each hop does is in peers/nginx-*.conf.
import { existsSync } from "node:fs";
import { mkdir, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { freePorts } from "../../cli/run/free-ports.ts";
import type { StartContender } from "./contender.ts";
import { type Hop, startHop } from "./hop-process.ts";
import { configSuffix, writePeerConfig } from "./peer-config.ts";
import { BIG_ANSWER_BYTES, BIG_ANSWER_PREFIX, STREAMED_MESSAGE, STREAMED_MESSAGES, UNARY_ANSWER } from "./grpc-messages.ts";
import type { StartProcess } from "./processes.ts";
import { programVersion } from "./program-version.ts";
import { TLS_NAME, writeTlsFiles } from "./tls-files.ts";

const BODY_BYTES = 1_024;
/** Of `/1m`. */
export const BIG_BODY_BYTES = 1_048_576;
/** Of `/bulk`: one answer of an opaque connection, long enough that its head does not count. */
export const BULK_BODY_BYTES = 268_435_456;

const STREAM_MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so";

/** The app behind the proxies. */
export interface Origin extends Hop {
  /** Where it speaks HTTP/2 in cleartext. */
  readonly grpcPort: number;
}

/** Starts the origin, which serves `/`, `/1m`, `/bulk`, by gRPC `/unary`, `/stream`, `/64m`, and, for looking at what a hop adds, `/work` by both. */
export async function startOrigin(folder: string, start: StartProcess): Promise<Origin> {
  if (nginxVersion() === null) throw new Error("nginx is needed, as the app behind the proxies: apt-get install nginx");
  const own = join(folder, "origin");
  await mkdir(join(own, "files"), { recursive: true });
  await writeFile(join(own, "files", "1m"), Buffer.alloc(BIG_BODY_BYTES, "m"));
  await writeFile(join(own, "files", "bulk"), "");
  await truncate(join(own, "files", "bulk"), BULK_BODY_BYTES); // zeros that take no space
  await writeGrpcFiles(join(own, "grpc"));
  const [grpcPort = 0] = await freePorts(1);
  const answer = UNARY_ANSWER.toString("latin1");
  const hop = await startNginx("origin", own, start, {
    body: "x".repeat(BODY_BYTES),
    grpcPort,
    answer,
    streamedBytes: STREAMED_MESSAGE.length,
  });
  return { ...hop, grpcPort };
}

async function writeGrpcFiles(folder: string): Promise<void> {
  await mkdir(folder);
  for (const name of ["unary", "work"]) await writeFile(join(folder, name), ""); // answered from memory
  await writeFile(join(folder, "stream"), Buffer.concat(Array.from({ length: STREAMED_MESSAGES }, () => STREAMED_MESSAGE)));
  await writeFile(join(folder, "64m"), BIG_ANSWER_PREFIX);
  await truncate(join(folder, "64m"), BIG_ANSWER_BYTES);
}

/** nginx in front of nginx. */
export const startNginxPair: StartContender = async ({ originPort, folder, start, traffic = "http" }) => {
  const suffix = configSuffix(traffic);
  const values = { ...(await writeTlsFiles(folder)), name: TLS_NAME, loadStream: loadStream() };
  const server = await startNginx(`inbound${suffix}`, join(folder, "inbound"), start, { ...values, target: originPort });
  const client = await startNginx(`outbound${suffix}`, join(folder, "outbound"), start, { ...values, target: server.port });
  return {
    name: "nginx",
    url: `http://127.0.0.1:${client.port}/`,
    host: null,
    hops: [client.pid, server.pid],
    startMs: Math.max(client.startMs, server.startMs),
  };
};

/** Its version, or null when it is not installed. */
export function nginxVersion(): string | null {
  return programVersion("nginx", ["-v"], /nginx\/([\d.]+)/);
}

async function startNginx(
  kind: string,
  folder: string,
  start: StartProcess,
  values: Readonly<Record<string, string | number>>,
): Promise<Hop> {
  await mkdir(folder, { recursive: true });
  const [port = 0] = await freePorts(1);
  const config = join(folder, "nginx.conf");
  await writePeerConfig(`nginx-${kind}.conf`, config, { ...values, folder, port });
  return startHop({ command: "nginx", arguments: ["-p", folder, "-c", config, "-e", "stderr"], port, folder, start });
}

/** Debian builds `stream` as a module. */
function loadStream(): string {
  return existsSync(STREAM_MODULE) ? `load_module ${STREAM_MODULE};` : "";
}

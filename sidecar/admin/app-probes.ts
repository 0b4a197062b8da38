// Probes of the app, run by the sidecar for the kubelet: in strict mode the kubelet has no identity, so the injector points its probes at the admin
// port and hands the originals over in REMORA_PROBES. An answer says what the kubelet would have seen; it judges as the kubelet does.
import { connect as http2Connect, constants as http2 } from "node:http2";
import { connect } from "node:net";
import type { AdminResponse, Route } from "../../core/admin-server.ts";
import type { Ask } from "./app-ask.ts";
import { getFromApp, TooManyRedirects } from "./app-http.ts";
import { type AppProbe, parseAppProbes } from "./app-probe-list.ts";

const MAX_GRPC_ANSWER_BYTES = 1024;
/** `grpc.health.v1.HealthCheckResponse.SERVING` */
const SERVING = 1;

/** Settings of {@link createAppProbes}. */
export interface AppProbesOptions {
  /** Where the app listens: the pod's own address, as the kubelet would dial it. */
  readonly appHost: string;
}

/** An outcome: `status` is what the kubelet gets. */
interface Outcome {
  readonly status: number;
  readonly message: string;
}

/**
 * One route per probe of `json` (REMORA_PROBES), at `/app-health/<container>/<kind>`. Each probe runs at most once at a time; who asks meanwhile
 * shares the answer, because the admin port is open to the whole cluster. Throws `ConfigError("invalid_value")` naming the entry that is wrong.
 */
export function createAppProbes(json: string, { appHost }: AppProbesOptions): Route[] {
  return parseAppProbes(json).map((probe): Route => {
    let running: Promise<AdminResponse> | null = null;
    return {
      method: "GET",
      path: `/app-health/${probe.name}`,
      handle() {
        running ??= run(probe, appHost).finally(() => {
          running = null;
        });
        return running;
      },
    };
  });
}

async function run(probe: AppProbe, host: string): Promise<AdminResponse> {
  const abort = AbortSignal.timeout(probe.timeoutMs);
  const { status, message } = await ask(probe.ask, host, abort).catch((error: unknown) => explainFailure(error, abort, probe.timeoutMs));
  return { status, headers: { "content-type": "text/plain; charset=utf-8" }, body: `${message}\n` };
}

function ask(what: Ask, host: string, abort: AbortSignal): Promise<Outcome> {
  switch (what.kind) {
    case "http":
      return askHttp(what, host, abort);
    case "tcp":
      return askTcp(what.port, host, abort);
    case "grpc":
      return askGrpc(what, host, abort);
  }
}

function explainFailure(error: unknown, abort: AbortSignal, timeoutMs: number): Outcome {
  if (error instanceof TooManyRedirects) return { status: 502, message: error.message };
  if (abort.aborted) return { status: 504, message: `the app did not answer within ${timeoutMs} ms` };
  return { status: 502, message: `the app cannot be asked: ${error instanceof Error ? error.message : String(error)}` };
}

/** 200 to 399 is healthy, as the kubelet has it. */
async function askHttp(what: Extract<Ask, { kind: "http" }>, host: string, abort: AbortSignal): Promise<Outcome> {
  const { status, path, port } = await getFromApp(what, host, abort);
  const healthy = status >= 200 && status < 400;
  return { status: healthy ? 200 : Math.max(status, 400), message: `GET ${path} on port ${port}: ${status}` };
}

function askTcp(port: number, host: string, signal: AbortSignal): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host, signal });
    socket.on("connect", () => {
      socket.destroy();
      resolve({ status: 200, message: `port ${port} accepts connections` });
    });
    socket.on("error", reject);
  });
}

/** `grpc.health.v1.Health/Check`, written by hand: two fields are no reason to load a gRPC stack into every sidecar. */
function askGrpc({ port, service }: Extract<Ask, { kind: "grpc" }>, host: string, abort: AbortSignal): Promise<Outcome> {
  return new Promise<Outcome>((resolve, reject) => {
    const session = http2Connect(`http://${host.includes(":") ? `[${host}]` : host}:${port}`);
    const stop = () => session.destroy(new Error("timed out"));
    abort.addEventListener("abort", stop);
    session.on("error", reject);
    session.on("close", () => {
      abort.removeEventListener("abort", stop);
      reject(new Error("the connection closed"));
    });
    const stream = session.request({
      [http2.HTTP2_HEADER_METHOD]: "POST",
      [http2.HTTP2_HEADER_PATH]: "/grpc.health.v1.Health/Check",
      [http2.HTTP2_HEADER_CONTENT_TYPE]: "application/grpc",
      [http2.HTTP2_HEADER_TE]: "trailers",
    });
    const chunks: Buffer[] = [];
    let grpcStatus = "none";
    const readStatus = (fields: { readonly "grpc-status"?: unknown }) => {
      if (fields["grpc-status"] !== undefined) grpcStatus = String(fields["grpc-status"]);
    };
    stream.on("response", readStatus);
    stream.on("trailers", readStatus);
    stream.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      if (chunks.reduce((sum, { length }) => sum + length, 0) > MAX_GRPC_ANSWER_BYTES)
        session.destroy(new Error("the health answer is too long"));
    });
    stream.on("error", reject);
    stream.on("end", () => {
      const serving = grpcStatus === "0" && readHealth(Buffer.concat(chunks)) === SERVING;
      resolve({ status: serving ? 200 : 503, message: serving ? "serving" : `not serving (grpc-status ${grpcStatus})` });
      session.close();
    });
    stream.end(healthRequest(service));
  });
}

/** Length-prefixed HealthCheckRequest: field 1 is the service, a string. */
function healthRequest(service: string): Buffer {
  const name = Buffer.from(service, "utf8");
  const message = name.length === 0 ? name : Buffer.concat([Buffer.of(0x0a), varint(name.length), name]);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let left = value; ; left >>>= 7) {
    if (left < 0x80) return Buffer.of(...bytes, left);
    bytes.push((left & 0x7f) | 0x80);
  }
}

/** Field 1 (varint) of a HealthCheckResponse; 0 when it is not one. */
function readHealth(answer: Buffer): number {
  return answer.length >= 7 && answer[0] === 0 && answer[5] === 0x08 ? (answer[6] ?? 0) : 0;
}

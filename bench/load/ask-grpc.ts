// One gRPC call, by node:http2, to look at its answer.
import { connect } from "node:http2";
import { setTimeout as sleep } from "node:timers/promises";
import { REQUEST_MESSAGE } from "./grpc-messages.ts";

const TIMEOUT_MS = 5_000;
const BETWEEN_MS = 20;

/** What came back. */
export interface GrpcAnswer {
  readonly status: number;
  readonly body: Buffer;
  /** From the trailers; null without them, also when an answer of headers only carries it. */
  readonly grpcStatus: string | null;
}

/** Calls `url` over a connection of its own, as `authority` if that is not null. Rejects when no whole answer comes within 5 s. */
export function askGrpc(url: URL, authority: string | null): Promise<GrpcAnswer> {
  return new Promise((resolve, reject) => {
    const session = connect(url.origin);
    const fail = (error: Error) => {
      session.destroy();
      reject(error);
    };
    session.on("error", fail);
    const stream = session.request({
      ":method": "POST",
      ":path": url.pathname,
      ":authority": authority ?? url.host,
      "content-type": "application/grpc",
      te: "trailers",
    });
    let status = 0;
    let grpcStatus: string | null = null;
    const chunks: Buffer[] = [];
    stream.on("response", (headers) => (status = Number(headers[":status"])));
    stream.on("trailers", (trailers) => (grpcStatus = String(trailers["grpc-status"] ?? "")));
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("end", () => {
      session.close();
      resolve({ status, body: Buffer.concat(chunks), grpcStatus });
    });
    stream.on("error", fail);
    stream.setTimeout(TIMEOUT_MS, () => fail(new Error(`${url.pathname} is not answered`)));
    stream.end(REQUEST_MESSAGE);
  });
}

/** Calls until the answer is one of gRPC. Rejects after `timeoutMs`, saying what came instead. */
export async function untilGrpcServed(url: URL, authority: string | null, timeoutMs: number): Promise<void> {
  const endMonoMs = performance.now() + timeoutMs;
  for (;;) {
    const outcome = await askGrpc(url, authority).then(({ status, grpcStatus }) => `${status}, grpc-status ${grpcStatus}`, messageOf);
    if (outcome === "200, grpc-status 0") return;
    if (performance.now() > endMonoMs) throw new Error(`${url.href} does not serve gRPC after ${timeoutMs} ms: ${outcome}`);
    await sleep(BETWEEN_MS);
  }
}

function messageOf(error: unknown): string {
  return (error as Error).message; // what node:http2 and we reject with
}

// The generators of our own, each run as a child so that its work is not done by the process that measures.
import { join } from "node:path";
import type { BulkOptions, BulkResult } from "./bulk.ts";
import type { ConstantRateOptions, ConstantRateResult } from "./constant-rate.ts";
import type { LoadResult } from "./generate.ts";
import type { GrpcBulkOptions } from "./grpc-bulk.ts";
import type { NewConnectionsOptions, NewConnectionsResult } from "./new-connections.ts";
import { runProgram } from "./run-program.ts";

/** Bytes that count as one request of a bulk load, so that its rate is MB/s and its cost CPU µs per MB, which is ms per GB. */
const BYTES_PER_REQUEST = 1_000_000;

/** Sends GETs at a constant rate. */
export async function atConstantRate(options: ConstantRateOptions): Promise<LoadResult> {
  const result = await runOwn<ConstantRateResult>("constant-rate.ts", options);
  return { ...result, perSecond: result.requests / options.durationS };
}

/** Takes what comes over opaque connections. */
export async function inBulk(options: BulkOptions): Promise<LoadResult> {
  return resultOf(await runOwn<BulkResult>("bulk.ts", options));
}

/** Takes what comes in one stream of gRPC after another. */
export async function inGrpcBulk(options: GrpcBulkOptions): Promise<LoadResult> {
  return resultOf(await runOwn<BulkResult>("grpc-bulk.ts", options));
}

function resultOf({ bytes, failed, durationMs }: BulkResult): LoadResult {
  const requests = bytes / BYTES_PER_REQUEST;
  return {
    requests,
    failed,
    perSecond: requests / (durationMs / 1_000),
    meanMs: null,
    p50Ms: null,
    p90Ms: null,
    p99Ms: null,
    p999Ms: null,
  };
}

/** Opens a connection for each GET. */
export function overNewConnections(options: NewConnectionsOptions): Promise<LoadResult> {
  return runOwn<NewConnectionsResult>("new-connections.ts", options);
}

async function runOwn<Result>(program: string, options: { readonly durationS: number }): Promise<Result> {
  const stdout = await runProgram({
    command: process.execPath,
    arguments: [join(import.meta.dirname, program), JSON.stringify(options)],
    env: process.env,
    durationS: options.durationS,
  });
  return JSON.parse(stdout) as Result; // what our own program prints
}

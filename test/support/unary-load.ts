// Unary calls on one long-lived connection: as many as there are, some at a time, or so many each second while something is done to those who answer them.
import { status } from "@grpc/grpc-js";
import type { echoClient } from "./echo-grpc.ts";
import { unary } from "./grpc-fixture.ts";
import { Metadata } from "@grpc/grpc-js";

type Client = ReturnType<typeof echoClient>;

const TICK_MS = 5;
const MESSAGE = Buffer.alloc(200, 1);
const DEADLINE_MS = 30_000;
/** A machine that does not keep up is not buried. */
const MOST_UNDER_WAY = 40;

/** What became of the calls. */
export interface LoadFigures {
  calls: number;
  /** Code and details of those that failed. */
  failed: string[];
  slowestMs: number;
}

/** Makes `count` calls, `parallel` at a time. */
export async function callMany(client: Client, count: number, parallel: number): Promise<LoadFigures> {
  const figures: LoadFigures = { calls: 0, failed: [], slowestMs: 0 };
  let left = count;
  const work = async () => {
    for (; left > 0; ) {
      left -= 1;
      await callOnce(client, figures);
    }
  };
  await Promise.all(Array.from({ length: parallel }, work));
  return figures;
}

/** Makes `perSecond` calls a second, whether those before were answered or not (while they are few enough), until `stop` is called; that waits for the last answer. */
export function startUnaryLoad(client: Client, perSecond: number): { stop(): Promise<LoadFigures> } {
  const figures: LoadFigures = { calls: 0, failed: [], slowestMs: 0 };
  const under = new Set<Promise<void>>();
  const startMs = performance.now();
  let begun = 0;
  const timer = setInterval(() => {
    const due = Math.floor(((performance.now() - startMs) / 1000) * perSecond);
    if (under.size >= MOST_UNDER_WAY) begun = due;
    for (; begun < due; begun += 1) {
      const call = callOnce(client, figures).finally(() => under.delete(call));
      under.add(call);
    }
  }, TICK_MS);
  return {
    async stop() {
      clearInterval(timer);
      await Promise.all(under);
      return figures;
    },
  };
}

async function callOnce(client: Client, figures: LoadFigures): Promise<void> {
  const startMs = performance.now();
  const { error } = await unary(client, MESSAGE, new Metadata(), DEADLINE_MS);
  figures.calls += 1;
  figures.slowestMs = Math.max(figures.slowestMs, Math.round(performance.now() - startMs));
  if (error !== null) figures.failed.push(`${status[error.code]} ${error.details}`);
}

/** The figures in a line, for a comment. */
export function shown({ calls, failed, slowestMs }: LoadFigures): string {
  return `${calls} calls, ${failed.length} failed, slowest ${slowestMs} ms`;
}

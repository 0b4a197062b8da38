// Plays a script of gRPC calls (grpc-script.ts) by grpc-js, all at once on one connection, and prints how each ended, one JSON object a line, and `all done`.
// SIGUSR2 cancels those that are to be cancelled later. Usage: phases-client.ts HOST:PORT AUTHORITY SCRIPT KEEPALIVE_MS
import { readFileSync } from "node:fs";
import { type ClientDuplexStream, Metadata, type StatusObject } from "@grpc/grpc-js";
import { echoClient } from "../echo-grpc.ts";
import type { CallEnd, CallOrder } from "../grpc-script.ts";

const [target = "", authority = "", file = "", keepaliveMs = "0"] = process.argv.slice(2);
const client = echoClient(Number(target.split(":")[1]), authority, {
  "grpc.enable_retries": 0,
  ...(keepaliveMs === "0" ? {} : { "grpc.keepalive_time_ms": Number(keepaliveMs), "grpc.keepalive_timeout_ms": 2_000 }),
});
// What all kinds of call have in common once they are under way.
type Call = ClientDuplexStream<Buffer, Buffer>;
const methods = client as unknown as Record<string, (...args: unknown[]) => Call>;

function metadataOf(order: CallOrder): Metadata {
  const metadata = new Metadata();
  metadata.set("call", order.name);
  for (const [name, value] of order.metadata ?? []) metadata.add(name, name.endsWith("-bin") ? Buffer.from(value, "base64") : value);
  return metadata;
}

function seen(metadata: Metadata): [string, string][] {
  return Object.keys(metadata.getMap())
    .filter((name) => name.startsWith("x-") && !name.startsWith("x-remora"))
    .sort()
    .flatMap((name) =>
      metadata.get(name).map((value): [string, string] => [name, typeof value === "string" ? value : value.toString("base64")]),
    );
}

function start(order: CallOrder): { readonly call: Call; readonly ended: Promise<void> } {
  const message = Buffer.alloc(order.bytes ?? 5, order.fill ?? 1);
  const sizes: number[] = [];
  const streams = order.method === "Collect" || order.method === "Chat";
  const single = order.method === "Unary" || order.method === "Collect";
  const args = [
    ...(streams ? [] : [message]),
    metadataOf(order),
    { deadline: Date.now() + (order.deadlineMs ?? 60_000) },
    ...(single ? [(_error: unknown, value?: Buffer) => value !== undefined && sizes.push(value.length)] : []),
  ];
  const call = methods[order.method]?.call(client, ...args) as Call;
  const end: CallEnd = { name: order.name, code: -1, details: "", sizes, headers: [], trailers: [] };
  call.on("metadata", (received: Metadata) => {
    end.headers = seen(received);
  });
  if (!single) {
    call.on("error", () => {}); // told by its status
    call.on("data", (part: Buffer) => sizes.push(part.length));
  }
  const ended = new Promise<void>((resolve) => {
    call.on("status", ({ code, details, metadata }: StatusObject) => {
      // Behind the callback of a unary answer.
      setImmediate(() => {
        process.stdout.write(`${JSON.stringify({ ...end, code, details, trailers: seen(metadata) })}\n`);
        resolve();
      });
    });
  });
  if (streams) {
    for (let index = 0; index < (order.messages ?? 1); index += 1) call.write(message);
    if (order.open !== true) call.end();
  }
  return { call, ended };
}

const orders = JSON.parse(readFileSync(file, "utf8")) as CallOrder[];
const started = orders.map((order) => ({ order, ...start(order) }));
process.on("SIGUSR2", () => {
  for (const { order, call } of started) if (order.cancel === "later") call.cancel();
});
for (const { order, call } of started) if (order.cancel === "at once") call.cancel();
await Promise.all(started.map(({ ended }) => ended));
client.close();
process.stdout.write("all done\n", () => process.exit(0));

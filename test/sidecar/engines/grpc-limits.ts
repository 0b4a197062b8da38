// gRPC in sizes and numbers that are allowed but rare, by two implementations: metadata up to what fits a header section, messages of 16 MiB, a thousand calls at
// once, readers that don't read, and clients that ask again and again whether somebody is there.
import { status } from "@grpc/grpc-js";
import type { EngineName } from "../../../sidecar/engine.ts";
import { type GrpcMesh, type GrpcTest, grpcTests } from "../../support/grpc-fixture.ts";
import {
  type CallOrder,
  type Implementation,
  playScript,
  type ScriptClient,
  type ScriptServer,
  startScriptServer,
} from "../../support/grpc-script.ts";
import { openConnections } from "../../support/mesh-fixture.ts";
import type { MeshPair } from "../../support/mesh-pair.ts";
import { eventually } from "../../support/raw-peers.ts";
import { requires } from "../../support/requires.ts";
import t, { type Test } from "tap";

const skip = requires("python3", "python3:grpc");
// Several processes, and a hundred megabytes between them: on a busy machine of two cores this takes its time.
t.setTimeout(300_000);

const KIB = 1024;
const MIB = 1024 * KIB;
const PARALLEL = 1_000;

/** Each implementation as client and as server. */
const PAIRINGS: readonly (readonly [client: Implementation, server: Implementation])[] = [
  ["grpc-js", "grpc-core"],
  ["grpc-core", "grpc-js"],
];

/** Registers the tests for one engine. */
export function grpcLimits(engine: EngineName): void {
  const test: GrpcTest = grpcTests(engine, { skip });

  for (const [client, server] of PAIRINGS) {
    test(`${client} calls ${server}: in any size and number that is allowed`, async (t, mesh) => {
      const meshed = await start(t, mesh, client, server);
      const silent = await staySilent(meshed);
      await sendMetadata(t, meshed);
      await sendLargeMessages(t, meshed);
      await callAtOnce(t, meshed);
      await stall(t, meshed);
      t.same(silent.process.lines, [], "a call in which nothing happens, by a client that pings all the time, goes on");
      silent.process.signal("SIGUSR2");
      t.match((await silent.ended()).get("silent"), { code: status.CANCELLED, sizes: [5] });
    });
  }
}

/** A client, a mesh and a server. */
interface Meshed {
  readonly callee: ScriptServer;
  readonly pair: MeshPair;
  play(script: readonly CallOrder[], options?: { readonly keepaliveMs?: number }): ScriptClient;
}

async function start(t: Test, mesh: GrpcMesh, client: Implementation, server: Implementation): Promise<Meshed> {
  const callee = await startScriptServer(t, server);
  const pair = await mesh.pairFor(callee.port, { protocol: "grpc" });
  const to = { port: pair.outboundPort, authority: "orders" };
  return { callee, pair, play: (script, options) => playScript(t, client, to, script, options) };
}

/** What a library or the mesh may say of metadata that is too large: RESOURCE_EXHAUSTED of a request, of an answer that there is none or that it broke off. */
const REFUSED = { request: [status.RESOURCE_EXHAUSTED], answer: [status.RESOURCE_EXHAUSTED, status.UNAVAILABLE, status.INTERNAL] };

/** Up to what fits a header section it passes both ways; with more the call is refused, and only that. */
async function sendMetadata(t: Test, { play }: Meshed): Promise<void> {
  const big = (kib: number): CallOrder => ({ name: `${kib} KiB`, method: "Unary", metadata: [["x-big", "b".repeat(kib * KIB)]] });
  const binary = (kib: number): CallOrder => ({
    name: `${kib} KiB in base64`,
    method: "Unary",
    metadata: [["x-big-bin", Buffer.alloc(kib * KIB, 255).toString("base64")]],
  });
  const made = (where: "headers" | "trailers"): CallOrder => ({
    name: `70 KiB of ${where}`,
    method: "Unary",
    metadata: [[`make-${where}`, String(70 * KIB)]],
  });
  const fitting = [big(8), big(32), big(60), binary(6), binary(24), binary(44)];
  const refused = { request: [big(70), binary(60)], answer: [made("headers"), made("trailers")] };
  const ends = await play([...fitting, ...refused.request, ...refused.answer]).ended();
  for (const { name, metadata } of fitting) t.match(ends.get(name), { code: status.OK, headers: metadata, trailers: metadata }, name);
  for (const which of ["request", "answer"] as const) {
    for (const { name } of refused[which]) {
      const { code = -1, details } = ends.get(name) ?? {};
      t.ok(REFUSED[which].includes(code), `${name} of ${which}: ${code} ${details}`);
    }
  }
}

async function sendLargeMessages(t: Test, { play }: Meshed): Promise<void> {
  const whole = 16 * MIB;
  const script: CallOrder[] = [
    { name: "unary", method: "Unary", bytes: whole },
    { name: "collect", method: "Collect", bytes: whole / 4, messages: 4 },
    { name: "repeat", method: "Repeat", bytes: whole, metadata: [["times", "1"]] },
    { name: "chat", method: "Chat", bytes: whole },
  ];
  const ends = await play(script).ended();
  t.match(ends.get("unary"), { code: status.OK, sizes: [whole] });
  t.match(ends.get("collect"), { code: status.OK, sizes: [whole] });
  t.match(ends.get("repeat"), { code: status.OK, sizes: [whole] });
  t.match(ends.get("chat"), { code: status.OK, sizes: [whole] });
}

/** As many as one connection may have open: unary ones, and streams that are all open in both directions at the same time. */
async function callAtOnce(t: Test, { pair, callee, play }: Meshed): Promise<void> {
  const numbered = (order: Omit<CallOrder, "name">) =>
    Array.from({ length: PARALLEL }, (_, index) => ({ ...order, name: `${order.method} ${index}` }));
  const unary = await play(numbered({ method: "Unary", bytes: 300 })).ended();
  t.equal([...unary.values()].filter(({ code }) => code === status.OK).length, PARALLEL);

  const chats = play(numbered({ method: "Chat", bytes: 300, open: true, cancel: "later", metadata: [["at", "message wait"]] }));
  const told = (what: "reached" | "cancelled") => callee.count(what, "Chat");
  await eventually(() => told("reached") === PARALLEL, 30_000);
  t.equal(told("reached"), PARALLEL, "all are open at once");
  t.equal(await openConnections(pair.callerMetrics, "outbound"), 2, "on one connection, besides that of the silent client");
  t.equal(pair.callerShed.inFlight, PARALLEL + 1);
  chats.process.signal("SIGUSR2");
  const ended = [...(await chats.ended()).values()];
  t.equal(ended.filter(({ code }) => code === status.CANCELLED).length, PARALLEL);
  await eventually(() => told("cancelled") === PARALLEL);
  t.equal(told("cancelled"), PARALLEL, "the app sees that of every one");
}

/** Streams that the app does not read don't stop the others of their connection. */
async function stall(t: Test, { play }: Meshed): Promise<void> {
  const stalled: CallOrder[] = Array.from({ length: 50 }, (_, index) => ({
    name: `stalled ${index}`,
    method: "Collect",
    bytes: 64 * KIB,
    messages: 24,
    cancel: "later",
    metadata: [["at", "headers wait"]],
  }));
  const moving: CallOrder[] = Array.from({ length: 100 }, (_, index) => ({
    name: `moving ${index}`,
    method: index % 2 === 0 ? "Unary" : "Chat",
    bytes: 20 * KIB,
    messages: 10,
  }));
  const playing = play([...stalled, ...moving]);
  const ended = () => playing.process.lines.filter((line) => line.startsWith("{")).length;
  await eventually(() => ended() === moving.length, 30_000);
  t.equal(ended(), moving.length, "all but those that nobody reads");
  playing.process.signal("SIGUSR2");
  const ends = await playing.ended();
  for (const { name } of moving) t.equal(ends.get(name)?.code, status.OK, name);
  for (const { name } of stalled) t.equal(ends.get(name)?.code, status.CANCELLED, name);
}

async function staySilent({ callee, play }: Meshed): Promise<ScriptClient> {
  const silent: CallOrder = { name: "silent", method: "Chat", open: true, cancel: "later", metadata: [["at", "message wait"]] };
  const client = play([silent], { keepaliveMs: 100 });
  await eventually(() => callee.names("reached").includes("silent"));
  return client;
}

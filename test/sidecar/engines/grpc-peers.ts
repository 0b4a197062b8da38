// gRPC by two implementations that have nothing in common, grpc-js (on node:http2) and grpc-core, each as client and as server: whatever they make of a call, how it
// is ended and by whom, without the mesh, they make of it through both hops.
import { isDeepStrictEqual } from "node:util";
import { status } from "@grpc/grpc-js";
import t, { type Test } from "tap";
import type { EngineName } from "../../../sidecar/engine.ts";
import type { SigningMode } from "../../../sidecar/signing/profile.ts";
import { type GrpcMesh, type GrpcTest, grpcTests } from "../../support/grpc-fixture.ts";
import {
  type CallEnd,
  type CallOrder,
  type Implementation,
  type Phase,
  playScript,
  type ScriptClient,
  type ScriptServer,
  startScriptServer,
} from "../../support/grpc-script.ts";
import { eventually } from "../../support/raw-peers.ts";
import { requires } from "../../support/requires.ts";

const skip = requires("python3", "python3:grpc");
// Several processes: on a busy machine of two cores this takes its time.
t.setTimeout(300_000);

const TAGS = [
  ["x-tag", "a value"],
  ["x-tag-bin", Buffer.from([0, 1, 2, 254, 255]).toString("base64")],
] as const;

const WHOLE: readonly CallOrder[] = [
  { name: "unary", method: "Unary", metadata: TAGS },
  { name: "unary of nothing", method: "Unary", bytes: 0, metadata: TAGS },
  { name: "unary beyond the held body", method: "Unary", bytes: 100_000 },
  { name: "client streams", method: "Collect", messages: 50, bytes: 1_000, metadata: TAGS },
  { name: "client streams nothing", method: "Collect", messages: 0 },
  { name: "server streams", method: "Repeat", bytes: 1_000, metadata: [...TAGS, ["times", "300"]] },
  { name: "server streams nothing", method: "Repeat", metadata: [["times", "0"]] },
  { name: "both stream", method: "Chat", messages: 100, bytes: 2_000, metadata: TAGS },
  { name: "both stream nothing", method: "Chat", messages: 0, metadata: TAGS },
];

/** Every phase that a call of each kind can be stopped in; where the request is not over, it is left open. */
const STOPS: readonly (readonly [CallOrder["method"], Phase])[] = [
  ["Unary", "start"],
  ["Unary", "headers"],
  ["Unary", "half-close"],
  ["Collect", "start"],
  ["Collect", "headers"],
  ["Collect", "message"],
  ["Collect", "half-close"],
  ["Repeat", "start"],
  ["Repeat", "headers"],
  ["Repeat", "answer"],
  ["Chat", "start"],
  ["Chat", "headers"],
  ["Chat", "message"],
  ["Chat", "half-close"],
];

function stopped(how: "wait" | "abort", more: Partial<CallOrder> = {}): CallOrder[] {
  return STOPS.map(([method, phase]) => ({
    name: `${method} ${how} ${phase}`,
    method,
    open: phase !== "half-close",
    metadata: [...TAGS, ["at", `${phase} ${how}`]],
    ...more,
  }));
}

/** What a client was told, and what its server said, while it went one way: directly or through the mesh. */
interface Way {
  readonly server: ScriptServer;
  play(script: readonly CallOrder[]): ScriptClient;
  /** Calls that the server says were cancelled, without those that were so too early to be sure to reach it. */
  cancelled(): Promise<readonly string[]>;
}

/** Each mode of signing with clients and servers of both kinds. */
const PAIRINGS: readonly (readonly [client: Implementation, server: Implementation, signing: SigningMode])[] = [
  ["grpc-js", "grpc-js", "hmac"],
  ["grpc-js", "grpc-core", "mtls"],
  ["grpc-core", "grpc-js", "mtls"],
  ["grpc-core", "grpc-core", "hmac"],
];

/** Registers the tests for one engine. */
export function grpcPeers(engine: EngineName): void {
  const test: GrpcTest = grpcTests(engine, { skip });

  for (const [client, server, signing] of PAIRINGS) {
    test(`${client} calls ${server}, signing ${signing}: what ends a call, and how, is as without the mesh`, async (t, mesh) => {
      const ways = await Promise.all([directly(t, client, server), throughMesh(t, mesh, { client, server, signing })]);
      await completes(t, ways);
      await cancels(t, ways);
      await losesItsClient(t, ways);
      await losesItsServer(t, ways);
    });
  }
}

/** Times that calls are played again which ended differently: on a busy machine grpc-core loses the headers of a call without messages by itself, seen without the mesh. */
const PLAYED_AGAIN = 2;

/** Whole calls of all kinds, and those that the server ends by a status in each phase. */
async function completes(t: Test, ways: readonly [Way, Way]): Promise<void> {
  const script = [...WHOLE, ...stopped("abort")];
  const [direct, meshed] = await both(ways, async (way) => new Map(await way.play(script).ended()));
  for (let again = 0; again < PLAYED_AGAIN; again += 1) {
    const differing = script.filter(({ name }) => !isDeepStrictEqual(meshed.get(name), direct.get(name)));
    if (differing.length === 0) break;
    t.comment(`played again: ${differing.map(({ name }) => name).join(", ")}`);
    const [directAgain, meshedAgain] = await both(ways, (way) => way.play(differing).ended());
    for (const { name } of differing) {
      direct.set(name, directAgain.get(name) as CallEnd);
      meshed.set(name, meshedAgain.get(name) as CallEnd);
    }
  }
  for (const { name } of script) t.same(meshed.get(name), direct.get(name), name);
  for (const { name } of WHOLE) t.equal(direct.get(name)?.code, status.OK, name);
  for (const { name } of stopped("abort")) t.equal(direct.get(name)?.code, status.ABORTED, name);
}

/** Calls that their client cancels in each phase, or at once, and those whose deadline passes in each. */
async function cancels(t: Test, ways: readonly [Way, Way]): Promise<void> {
  const later = stopped("wait", { cancel: "later" });
  const late = stopped("wait", { deadlineMs: 1_200 }).map((order) => ({ ...order, name: `${order.name}, deadline` }));
  const atOnce = WHOLE.map((order) => ({ ...order, name: `${order.name}, at once`, cancel: "at once" as const }));
  const [direct, meshed] = await both(ways, async (way) => {
    const client = way.play([...later, ...late, ...atOnce]);
    await reached(way, later);
    client.process.signal("SIGUSR2");
    const ends = await client.ended();
    return { ends, cancelled: await way.cancelled() };
  });
  for (const { name } of [...later, ...atOnce]) t.equal(meshed.ends.get(name)?.code, status.CANCELLED, name);
  for (const { name } of late) t.equal(meshed.ends.get(name)?.code, status.DEADLINE_EXCEEDED, name);
  for (const { name } of [...later, ...late, ...atOnce]) t.equal(direct.ends.get(name)?.code, meshed.ends.get(name)?.code, name);
  t.same(meshed.cancelled, direct.cancelled, "the server sees which were cancelled");
}

async function losesItsClient(t: Test, ways: readonly [Way, Way]): Promise<void> {
  const script = stopped("wait").map((order) => ({ ...order, name: `${order.name}, client killed` }));
  const [direct, meshed] = await both(ways, async (way) => {
    const client = way.play(script);
    await reached(way, script);
    client.process.signal("SIGKILL");
    await eventually(() => script.every(({ name }) => way.server.names("cancelled").includes(name)));
    return way.cancelled();
  });
  t.same(meshed, direct, "the server sees that nobody waits for its answers");
  for (const { name } of script) t.ok(meshed.includes(name), name);
}

async function losesItsServer(t: Test, ways: readonly [Way, Way]): Promise<void> {
  const script = stopped("wait").map((order) => ({ ...order, name: `${order.name}, server killed` }));
  const [direct, meshed] = await both(ways, async (way) => {
    const client = way.play(script);
    await reached(way, script);
    way.server.process.signal("SIGKILL");
    return client.ended();
  });
  for (const { name } of script) t.equal(meshed.get(name)?.code, direct.get(name)?.code, name);
}

async function directly(t: Test, client: Implementation, implementation: Implementation): Promise<Way> {
  const server = await startScriptServer(t, implementation);
  return wayTo(t, client, server, { port: server.port, authority: "direct" });
}

async function throughMesh(
  t: Test,
  mesh: GrpcMesh,
  { client, server: implementation, signing }: { client: Implementation; server: Implementation; signing: SigningMode },
): Promise<Way> {
  const server = await startScriptServer(t, implementation);
  const pair = await mesh.pairFor(server.port, { protocol: "grpc", signing, verify: signing });
  return wayTo(t, client, server, { port: pair.outboundPort, authority: "orders" });
}

function wayTo(t: Test, client: Implementation, server: ScriptServer, to: { readonly port: number; readonly authority: string }): Way {
  return {
    server,
    play: (script) => playScript(t, client, to, script),
    async cancelled() {
      await settled(server);
      return server.names("cancelled").filter((name) => !name.endsWith("at once"));
    },
  };
}

async function both<T>([direct, meshed]: readonly [Way, Way], run: (way: Way) => Promise<T>): Promise<[T, T]> {
  return Promise.all([run(direct), run(meshed)]);
}

async function reached({ server }: Way, script: readonly CallOrder[]): Promise<void> {
  await eventually(() => script.every(({ name }) => server.names("reached").includes(name)), 30_000);
}

/** Waits until the server has said all that it will say. */
async function settled({ process }: ScriptServer): Promise<void> {
  for (let before = -1; before !== process.lines.length; ) {
    before = process.lines.length;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

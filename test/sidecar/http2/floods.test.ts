// Floods of every kind, sent to the real ports of both hops: each is told to calm down, closed and counted within a bounded number of frames, and whoever is
// beside it is served as before.
import type { ClientHttp2Session } from "node:http2";
import t from "tap";
import { ask, finish, pause } from "../../support/http2-fixture.ts";
import type { FramePeer } from "../../support/http2-fuzz/frame-peer.ts";
import { FLOODS, type Flood } from "../../support/http2-fuzz/floods.ts";
import { FrameMesh, HOPS } from "../../support/http2-fuzz/hops.ts";

const ENHANCE_YOUR_CALM = 11;
/** Steps sent in one write: so many, that a flood on a slow machine is a flood still, as budgets fill up again with time. */
const STEPS_AT_ONCE = 100;
/** How long a flood that is whole may wait for its end, ms. */
const END_PATIENCE_MS = 20_000;
/** What a well-behaved neighbour may wait beyond what it waits anyway, in processor time of this process, in which everybody runs. */
const PATIENCE_CPU_MS = 500;

/** Sends a flood until it is over or should be; gives the steps sent. */
async function flood(peer: FramePeer, { before, step, most }: Flood): Promise<number> {
  if (before !== undefined) peer.send(before);
  let sent = 0;
  while (sent <= most && peer.failure === -1 && !peer.isClosed) {
    const steps = Array.from({ length: Math.min(STEPS_AT_ONCE, most - sent + 1) }, (_, index) => step(sent + index));
    peer.send(...steps);
    sent += steps.length;
    await pause(0);
  }
  return sent;
}

/** Calls one after the other until told to stop; gives what each took of the processor, and what was not answered. */
async function callUntil(client: ClientHttp2Session, isOver: () => boolean): Promise<{ tookCpuMs: number[]; failed: unknown[] }> {
  const tookCpuMs: number[] = [];
  const failed: unknown[] = [];
  do {
    const startCpuMs = cpuMs();
    const { status, body, code } = await finish(ask(client));
    tookCpuMs.push(cpuMs() - startCpuMs);
    if (status !== 200 || body !== "fine") failed.push({ status, body, code });
    await pause(0); // a session that is closed fails at once, and nothing else would get its turn
  } while (!isOver() && failed.length === 0);
  return { tookCpuMs, failed };
}

/** Whatever else the machine does is not in it. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

function median(values: readonly number[]): number {
  return [...values].sort((left, right) => left - right)[values.length >> 1] ?? 0;
}

for (const hop of HOPS) {
  t.test(`${hop}: each flood ends its own connection, is counted, and harms nobody`, async (t) => {
    const frames = new FrameMesh(t);
    const pair = await frames.start((stream, { ":path": path }) => {
      if (path === "/never") return void stream.resume();
      stream.resume();
      stream.respond({ ":status": 200 });
      stream.end("fine");
    });
    const client = frames.mesh.connectHttp2(pair.outboundPort);
    let calls = 0;
    const before = median((await callUntil(client, () => ++calls >= 100)).tookCpuMs);
    for (const each of FLOODS) {
      const { name, kind, most } = each;
      const label = `remora_http2_floods_total\\{direction="${hop}",peer="client",kind="${kind}"\\}`;
      const counted = await frames.metric(hop, label);
      let isOver = false;
      const beside = callUntil(client, () => isOver);
      const peer = await frames.connect(hop);
      const sent = await flood(peer, each);
      await peer.until(() => peer.failure !== -1 && peer.isClosed, END_PATIENCE_MS);
      isOver = true;
      const { tookCpuMs, failed } = await beside;
      t.equal(peer.failure, ENHANCE_YOUR_CALM, `${name}: GOAWAY, after ${sent} steps of at most ${most}`);
      t.ok(peer.isClosed, `${name}: closed`);
      t.equal(await frames.metric(hop, label), counted + 1, `${name}: counted`);
      t.same(failed, [], `${name}: ${tookCpuMs.length} calls beside it`);
      t.ok(
        median(tookCpuMs) < before + PATIENCE_CPU_MS,
        `${name}: ${median(tookCpuMs)} ms of the processor beside it, ${before} ms before`,
      );
      peer.stream.destroy();
    }
    t.equal(await frames.metric(hop, 'remora_http2_floods_total\\{direction="(?:in|out)bound",peer="upstream",kind="\\w+"\\}'), 0);
    const other = hop === "inbound" ? "outbound" : "inbound";
    t.equal(await frames.metric(other, "remora_http2_floods_total\\{.*\\}"), 0, "no flood is taken for one of the other hop");
    await frames.leavesNothing();
  });
}

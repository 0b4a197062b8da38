import type { ServerResponse } from "node:http";
import { connect, type Socket } from "node:net";
import t from "tap";
import { get, keepAliveAgent, type RunningSidecar, sidecarEnv, startApp, startControl, startSidecar, until } from "./harness.ts";

const control = await startControl(t);

/** Numbers of the workers that logged a request. */
function workersSeen({ process }: RunningSidecar): Set<string> {
  return new Set(process.lines.flatMap((line) => /"worker":(\d+).*"msg":"request"/.exec(line)?.[1] ?? []));
}

/** Sends `count` requests over `clients` connections at once; gives how often each status came. */
async function flood(sidecar: RunningSidecar, clients: number, count: number): Promise<ReadonlyMap<number, number>> {
  const statuses = new Map<number, number>();
  let left = count;
  const client = async () => {
    const agent = keepAliveAgent(t);
    while (left > 0) {
      left -= 1;
      const status = await get(sidecar.inboundPort, agent);
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  return statuses;
}

t.test("two workers admit exactly what one process would", async (t) => {
  const { port } = await startApp(t);
  // Refills one in 14 minutes: what is admitted is the burst and nothing else.
  const sidecar = await startSidecar(t, await sidecarEnv(t, control, port, { REMORA_RATE_LIMIT: "100/d burst=70" }));
  const statuses = await flood(sidecar, 16, 400);
  t.same([...workersSeen(sidecar)].sort(), ["1", "2"], "both workers served");
  t.equal(statuses.get(200), 70);
  t.equal(statuses.get(429), 330);
  t.equal(await sidecar.metric("remora_refused_total", 'reason="rate_limited"'), 330, "and the refusals are counted in sum");
});

t.test("a rate over time is that of one process", async (t) => {
  const { port } = await startApp(t);
  const sidecar = await startSidecar(t, await sidecarEnv(t, control, port, { REMORA_RATE_LIMIT: "50/s burst=100" }));
  const sinceMs = performance.now();
  let admitted = 0;
  let lastMs = sinceMs;
  const client = async () => {
    const agent = keepAliveAgent(t);
    while (performance.now() - sinceMs < 2_000) {
      if ((await get(sidecar.inboundPort, agent)) !== 200) continue;
      admitted += 1;
      lastMs = performance.now();
    }
  };
  await Promise.all(Array.from({ length: 12 }, client));
  const elapsedMs = lastMs - sinceMs;
  const expected = 100 + (elapsedMs * 50) / 1_000; // two seconds in which nobody asks cost nothing
  t.comment(`${admitted} admitted in ${elapsedMs.toFixed(0)} ms, ${expected.toFixed(1)} expected`);
  t.ok(admitted <= expected + 1, "never more");
  t.ok(admitted >= expected * 0.9, "and hardly fewer, as clients ask all the time");
});

t.test("requests in flight and connections are bounded in sum, also after workers were killed with some", async (t) => {
  const held: ServerResponse[] = [];
  const { port } = await startApp(t, (_request, response) => void held.push(response));
  const settings = { REMORA_MAX_INFLIGHT: "7", REMORA_MAX_CONNECTIONS: "40" };
  const sidecar = await startSidecar(t, await sidecarEnv(t, control, port, settings));

  const overloaded = async (count: number) => {
    let refused = 0;
    const answers = Array.from({ length: count }, () =>
      get(sidecar.inboundPort).then(
        (status) => {
          if (status === 503) refused += 1;
          return status;
        },
        () => 0, // its worker was killed
      ),
    );
    await until("the rest is refused", () => refused === count - 7 && held.length === 7);
    return answers;
  };
  const first = await overloaded(30);
  t.equal(await sidecar.metric("remora_connections", 'direction="inbound"'), 7);

  for (const { worker, pid } of await sidecar.workers()) {
    process.kill(pid, "SIGKILL");
    await until("it is started again", async () => {
      const again = (await sidecar.workers())[worker - 1];
      return again?.state === "listening" && again.restarts === 1;
    });
  }
  held.length = 0;
  t.same(
    (await Promise.all(first)).filter((status) => status === 200),
    [],
    "the killed workers took their requests with them",
  );
  const nothingOpen = async () => (await sidecar.metric("remora_connections", 'direction="inbound"')) === 0;
  await until("nothing is open", nothingOpen);

  const second = await overloaded(30);
  for (const response of held.splice(0)) response.end();
  t.equal((await Promise.all(second)).filter((status) => status === 200).length, 7, "again seven in sum, no more and no fewer");
  await until("nothing is open again", nothingOpen);

  const sockets: Socket[] = [];
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
  });
  let closed = 0;
  for (let n = 0; n < 60; n++) {
    const socket = connect(sidecar.inboundPort, "127.0.0.1").on("error", () => {});
    sockets.push(socket);
    socket.once("close", () => {
      closed += 1;
    });
    socket.write("GET / HTTP/1.1\r\nhost: orders\r\n"); // a head that never ends
    socket.resume();
  }
  await until("what comes past the bound is closed", () => closed === 20);
  t.equal(await sidecar.metric("remora_connections", 'direction="inbound"'), 40);
});

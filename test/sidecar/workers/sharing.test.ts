import t from "tap";
import { get, sidecarEnv, startApp, startControl, startSidecar, until } from "./harness.ts";

const control = await startControl(t);

t.test("two workers share the load, and their sums stay true when one is killed", async (t) => {
  const { port } = await startApp(t);
  const sidecar = await startSidecar(t, await sidecarEnv(t, control, port));
  const workers = await sidecar.workers();
  t.match(workers, [
    { worker: 1, state: "listening", restarts: 0 },
    { worker: 2, state: "listening", restarts: 0 },
  ]);
  t.not(workers[0]?.pid, workers[1]?.pid);

  for (let n = 0; n < 60; n++) t.equal(await get(sidecar.inboundPort), 200);
  const logged = () => sidecar.process.lines.filter((line) => line.includes('"msg":"request"')).length;
  await until("all are finished", () => logged() === 60);
  // Nothing was scraped before: what the killed worker had counted must be there all the same.
  process.kill(workers[0]?.pid ?? 0, "SIGKILL");
  t.equal(await sidecar.metric("remora_requests_total", 'direction="inbound"'), 60);
  t.equal(await sidecar.metric("remora_request_duration_seconds_count", 'direction="inbound"'), 60);
  t.equal(await sidecar.metric("remora_request_duration_seconds_bucket", 'le="+Inf"'), 60);
  const perWorker = [1, 2].map((worker) => sidecar.process.lines.filter((line) => line.includes(`"worker":${worker},`)).length);
  t.ok(
    perWorker.every((lines) => lines > 0),
    `both served, and each line says who: ${perWorker.join(" and ")}`,
  );

  const ready = async () => (await fetch(`http://127.0.0.1:${sidecar.adminPort}/ready`)).json();
  let unready: unknown = null;
  await until("the killed one listens again", async () => {
    const answer = (await ready()) as { ready: boolean };
    if (!answer.ready) unready = answer;
    // The other one serves meanwhile; a connection that the kernel gave to the killed one may have been lost.
    if (unready !== null) t.equal(await get(sidecar.inboundPort), 200);
    return answer.ready && unready !== null;
  });
  t.same(unready, { ready: false, waitingFor: ["workers"] });
  t.match(await sidecar.workers(), [{ restarts: 1 }, { restarts: 0 }]);
  t.ok(sidecar.process.lines.some((line) => line.includes('"signal":"SIGKILL"') && line.includes("starting it again")));

  const before = await sidecar.metric("remora_requests_total", 'direction="inbound"');
  t.ok(before >= 60, "no sum went back");
  for (let n = 0; n < 40; n++) t.equal(await get(sidecar.inboundPort), 200);
  t.equal(await sidecar.metric("remora_requests_total", 'direction="inbound"'), before + 40, "the new one counts on");
});

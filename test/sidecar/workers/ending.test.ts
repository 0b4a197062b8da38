import { connect } from "node:net";
import t from "tap";
import { isProcessAlive } from "../../../sidecar/workers/process-lock.ts";
import { ask, get, keepAliveAgent, sidecarEnv, startApp, startControl, startSidecar, until } from "./harness.ts";

const control = await startControl(t);

t.test("a drain fails no request", async (t) => {
  const { port } = await startApp(t, (_request, response) => setTimeout(() => response.end("ok"), 30));
  const sidecar = await startSidecar(t, await sidecarEnv(t, control, port));
  const workers = await sidecar.workers();
  let answered = 0;
  const failed: unknown[] = [];
  const client = async () => {
    const agent = keepAliveAgent(t);
    for (;;) {
      try {
        const { status, isLast } = await ask(sidecar.inboundPort, { agent });
        if (status === 200) answered += 1;
        else if (status !== null) failed.push(status);
        if (isLast) return; // told to go elsewhere
      } catch (error) {
        return void failed.push(error);
      }
    }
  };
  const clients = Array.from({ length: 12 }, client);
  await until("there is load", () => answered > 50);
  sidecar.process.signal("SIGTERM");
  t.equal(await sidecar.process.exit(15_000), 0);
  await Promise.all(clients);
  t.same(failed, []);
  t.comment(`${answered} answered`);
  t.notOk(
    workers.some(({ pid }) => isProcessAlive(pid)),
    "no worker is left",
  );
  t.ok(
    sidecar.process.lines.some((line) => line.includes('"isClean":true')),
    "nothing was cut off",
  );
});

t.test("a request held by one worker keeps both outbound sides open until it is answered", async (t) => {
  let release: () => void = () => {};
  const { port } = await startApp(t, (_request, response) => {
    release = () => response.end("late");
  });
  const sidecar = await startSidecar(t, await sidecarEnv(t, control, port));
  const answer = get(sidecar.inboundPort);
  await until("it is held", async () => (await sidecar.metric("remora_connections", 'direction="inbound"')) === 1);
  sidecar.process.signal("SIGTERM");
  await until("the inbound port is closed", () => refuses(sidecar.inboundPort));
  for (let n = 0; n < 12; n++) t.notOk(await refuses(sidecar.outboundPort), "the app may still call out, through either worker");
  release();
  t.equal(await answer, 200);
  t.equal(await sidecar.process.exit(15_000), 0);
});

t.test("when the first process is killed, its workers end", async (t) => {
  const { port } = await startApp(t);
  const env = await sidecarEnv(t, control, port);
  const sidecar = await startSidecar(t, env);
  const workers = await sidecar.workers();
  sidecar.process.signal("SIGKILL");
  await until("they are gone", () => !workers.some(({ pid }) => isProcessAlive(pid)));
  t.ok(await refuses(sidecar.inboundPort));
});

/** Whether nobody listens. */
function refuses(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(false);
    });
    socket.once("error", () => resolve(true));
  });
}

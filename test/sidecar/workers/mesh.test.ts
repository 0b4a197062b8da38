import t from "tap";
import { ask, sidecarEnv, startApp, startControl, startSidecar, until } from "./harness.ts";

const control = await startControl(t);

t.test("workers of one sidecar find the workers of another, hear of what changes, and share what was refused", async (t) => {
  const served = { a: 0, b: 0 };
  const appA = await startApp(t, (_request, response) => {
    served.a += 1;
    response.end("a");
  });
  const appB = await startApp(t, (_request, response) => {
    served.b += 1;
    response.end("b");
  });
  const { port: webPort } = await startApp(t);
  const web = await startSidecar(t, await sidecarEnv(t, control, webPort, { REMORA_SERVICES: "web", REMORA_EGRESS: "deny" }));
  const call = async () => (await ask(web.outboundPort, { host: "orders" })).status;
  const calls = (count: number) => Promise.all(Array.from({ length: count }, call));
  const workersCalling = () =>
    new Set(web.process.lines.flatMap((line) => /"worker":(\d+).*"direction":"outbound".*"msg":"request"/.exec(line)?.[1] ?? []));

  const refused = await calls(20);
  t.ok(
    refused.every((status) => status !== 200),
    "nobody serves it yet",
  );
  await until("both workers know that", () => workersCalling().size === 2);

  const orders = { REMORA_MODE: "strict" };
  await startSidecar(t, await sidecarEnv(t, control, appA.port, orders));
  await until("both hear of it without asking again", async () => (await calls(20)).every((status) => status === 200));

  const second = await startSidecar(t, await sidecarEnv(t, control, appB.port, orders));
  await until("and of another instance", async () => {
    await calls(4);
    return served.b > 0;
  });

  await second.process.kill(); // without a word to anybody
  const statuses = await calls(60);
  t.same(
    statuses.filter((status) => status !== 200),
    [],
    "what is refused there is sent to the other one",
  );
  t.ok((await web.metric("remora_early_removals_total")) >= 1);
  const sent = 20 + served.a + served.b; // at least: until both knew, some more were refused
  const logged = () => web.process.lines.filter((line) => /"direction":"outbound".*"msg":"request"/.test(line)).length;
  const counted = await web.metric("remora_requests_total", 'direction="outbound"');
  t.ok(counted >= sent);
  await until("each is on a line", () => logged() === counted);
});

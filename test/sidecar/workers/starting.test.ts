import { readdirSync, readFileSync } from "node:fs";
import t from "tap";
import { remora } from "../../cli/remora.ts";
import { get, sidecarEnv, startApp, startControl, startSidecar } from "./harness.ts";

const control = await startControl(t);

t.test("a port that somebody else has is refused at the start, not shared", async (t) => {
  const { port } = await startApp(t);
  const first = await startSidecar(t, await sidecarEnv(t, control, port));
  const env = await sidecarEnv(t, control, port, { REMORA_INBOUND_PORT: String(first.inboundPort) });
  const second = remora(t, ["sidecar"], env);
  t.equal(await second.exit(20_000), 1);
  t.match(second.lines.join("\n"), /EADDRINUSE/);
  for (let n = 0; n < 10; n++) t.equal(await get(first.inboundPort), 200, "the first one serves on");
});

t.test("one worker is this process and nothing more", async (t) => {
  const { port } = await startApp(t);
  const sidecar = await startSidecar(t, await sidecarEnv(t, control, port, { REMORA_WORKERS: "1" }));
  t.equal(await get(sidecar.inboundPort), 200);
  t.equal(await sidecar.workers(), undefined);
  const { pid } = sidecar.process;
  t.notMatch(readFileSync(`/proc/${pid}/maps`, "utf8"), /koffi|memfd/, "nothing of what shares memory is loaded");
  const children = readdirSync(`/proc/${pid}/task`).map((task) => readFileSync(`/proc/${pid}/task/${task}/children`, "utf8"));
  t.equal(children.join("").trim(), "", "no child");
});

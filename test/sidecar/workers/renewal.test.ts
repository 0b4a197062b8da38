import { once } from "node:events";
import { connect } from "node:tls";
import t from "tap";
import { get, sidecarEnv, startApp, startControl, startSidecar, until } from "./harness.ts";

const LEAF_TTL_MS = 10_000;

t.test("all workers serve with a renewed certificate, and go on serving", async (t) => {
  const control = await startControl(t, { REMORA_LEAF_TTL: `${LEAF_TTL_MS}ms` });
  const { port } = await startApp(t);
  const sidecar = await startSidecar(t, await sidecarEnv(t, control, port));
  const first = await serialsServed(sidecar.inboundPort, port);
  t.equal(first.size, 1, "both workers have the same one");

  const obtained = () => sidecar.process.lines.filter((line) => line.includes("certificate obtained")).length;
  await until("it is renewed", () => obtained() >= 2);
  await until("both have taken it", async () => {
    const [serial, ...others] = await serialsServed(sidecar.inboundPort, port);
    return others.length === 0 && !first.has(serial ?? "");
  });
  for (let n = 0; n < 10; n++) t.equal(await get(sidecar.inboundPort), 200);
  t.match(await sidecar.workers(), [{ restarts: 0 }, { restarts: 0 }]);
});

/** Serial numbers of the certificates that some thirty mesh connections are shown: enough to come to both workers, but for one time in 10⁹. */
async function serialsServed(inboundPort: number, appPort: number): Promise<ReadonlySet<string>> {
  const serials = new Set<string>();
  for (let n = 0; n < 30; n++) {
    const socket = connect({
      host: "127.0.0.1",
      port: inboundPort,
      servername: `p${appPort}.orders.default.sa.cluster.local`,
      ALPNProtocols: ["remora/h1"],
      rejectUnauthorized: false,
    });
    socket.on("error", () => {}); // we have no certificate, and are refused after we saw theirs
    await once(socket, "secureConnect");
    serials.add(socket.getPeerX509Certificate()?.serialNumber ?? "");
    socket.destroy();
  }
  return serials;
}

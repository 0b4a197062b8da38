// Instances are replaced, apps restarted and certificates renewed while a client makes unary calls on one connection, steadily. Nobody may notice. The figures are in the
// comments.
import { createServer, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import t, { type Test } from "tap";
import type { EngineName } from "../../../sidecar/engine.ts";
import { echoClient } from "../../support/echo-grpc.ts";
import { type FleetOptions, type Instance, MeshFleet } from "../../support/mesh-fleet.ts";
import { eventually } from "../../support/raw-peers.ts";
import { startUnaryApp, type UnaryApp } from "../../support/unary-app.ts";
import { callMany, shown, startUnaryLoad } from "../../support/unary-load.ts";

const PER_SECOND = 200;
/** How long it takes until the caller knows what the registry knows. */
const LAG_MS = 60;
const INSTANCES = 3;
/** How often each of them is replaced. */
const ROUNDS = 2;

interface Replica {
  readonly app: UnaryApp;
  readonly instance: Instance;
}

/** Registers the tests for one engine. */
export function grpcRolling(engine: EngineName): void {
  const test = (name: string, run: (t: Test) => Promise<void>) => t.test(`${engine}: ${name}`, run);

  test("a rolling restart of all instances, each app told first, its sidecar last", async (t) => {
    const { fleet, replicas } = await startReplicas(t, { engine });
    const load = startUnaryLoad(clientOf(t, fleet), PER_SECOND);
    await pause(200);
    const running = [...replicas];
    for (let count = 0; count < ROUNDS * INSTANCES; count += 1) {
      const replica = running.shift() as Replica; // as many as there were
      running.push(await addReplica(t, fleet));
      await pause(100);
      // As in Kubernetes: the registry hears of it at the same time, the caller a moment later.
      const left = replica.app.leave();
      await pause(LAG_MS);
      fleet.withdraw(replica.instance);
      replica.instance.sidecar.drain();
      await left;
      await pause(100);
      t.ok(await eventually(() => replica.instance.sidecar.shed.inFlight === 0), "nothing is left of it");
      await replica.instance.sidecar.close();
    }
    t.ok(
      running.some(({ app }) => app.calls > 0),
      "new instances are asked",
    );
    await endsWell(t, "apps first", load);
  });

  test("a rolling restart of all instances, each sidecar told first, its app last", async (t) => {
    const { fleet, replicas } = await startReplicas(t, { engine });
    const load = startUnaryLoad(clientOf(t, fleet), PER_SECOND);
    await pause(200);
    const running = [...replicas];
    for (let count = 0; count < ROUNDS * INSTANCES; count += 1) {
      const { app, instance } = running.shift() as Replica; // as many as there were
      running.push(await addReplica(t, fleet));
      instance.sidecar.drain();
      await pause(LAG_MS);
      fleet.withdraw(instance);
      await pause(100);
      t.ok(await eventually(() => instance.sidecar.shed.inFlight === 0), "nothing is left of it");
      await instance.sidecar.close();
      await app.leave();
    }
    await endsWell(t, "sidecars first", load);
  });

  test("apps that die between two calls and come back on their port", async (t) => {
    const { fleet, replicas } = await startReplicas(t, { engine, routes: "service=orders retry=idempotent" });
    const load = startUnaryLoad(clientOf(t, fleet), PER_SECOND);
    await pause(200);
    for (const { app } of replicas) {
      app.die();
      await pause(150);
      await startUnaryApp(t, app.port);
      await pause(150);
    }
    await endsWell(t, "apps killed", load);
  });

  for (const mode of ["hmac", "sign", "mtls"] as const) {
    test(`signing ${mode}: certificates and message keys of both sides are renewed`, async (t) => {
      const { fleet, replicas } = await startReplicas(t, { engine, signing: mode, verify: mode });
      const load = startUnaryLoad(clientOf(t, fleet), PER_SECOND);
      await pause(200);
      for (let round = 0; round < 4; round += 1) {
        fleet.renewCaller();
        await pause(LAG_MS);
        for (const { instance } of replicas) instance.renew();
        await pause(LAG_MS);
        for (const { instance } of replicas) fleet.announce(instance);
        // New connections, by the new certificates; what was open goes on with the old ones.
        replicas[round % INSTANCES]?.instance.sidecar.drain();
        await pause(2 * LAG_MS);
      }
      await endsWell(t, `${mode}: 4 renewals of ${INSTANCES + 1} certificates and keys`, load);
    });
  }

  test("an app that closes its connections in order all the time", async (t) => {
    for (const { lifeMs, isTooShort } of [{ lifeMs: 60 }, { lifeMs: 5, isTooShort: true }, { lifeMs: 1, isTooShort: true }]) {
      const fleet = await MeshFleet.start(t, { engine });
      const app = await startRestlessApp(t, lifeMs);
      await fleet.add(app.port);
      const figures = await callMany(clientOf(t, fleet), 400, 10);
      t.comment(`connections closed after ${lifeMs} ms: ${shown(figures)}`);
      // Where they may be closed before a request gets there, three times in a row, the app is at least not asked for more than the client was told of.
      if (isTooShort === true) t.equal(app.calls, figures.calls - figures.failed.length);
      else t.same(figures.failed, []);
    }
  });
}

async function startReplicas(t: Test, options: FleetOptions): Promise<{ fleet: MeshFleet; replicas: readonly Replica[] }> {
  const fleet = await MeshFleet.start(t, options);
  const replicas: Replica[] = [];
  for (let index = 0; index < INSTANCES; index += 1) replicas.push(await addReplica(t, fleet));
  return { fleet, replicas };
}

async function addReplica(t: Test, fleet: MeshFleet): Promise<Replica> {
  const app = await startUnaryApp(t);
  return { app, instance: await fleet.add(app.port) };
}

function clientOf(t: Test, fleet: MeshFleet) {
  const client = echoClient(fleet.caller.port, "orders", { "grpc.enable_retries": 0 });
  t.teardown(() => client.close());
  return client;
}

async function endsWell(t: Test, what: string, load: ReturnType<typeof startUnaryLoad>): Promise<void> {
  await pause(200);
  const figures = await load.stop();
  t.comment(`${what}: ${shown(figures)}, ${PER_SECOND}/s`);
  t.same(figures.failed, []);
}

/** An app whose connections are closed with a GOAWAY as soon as they are `lifeMs` old; calls under way are answered. */
async function startRestlessApp(t: Test, lifeMs: number): Promise<{ readonly port: number; calls: number }> {
  const app = createServer();
  const found = { port: 0, calls: 0 };
  const sessions = new Set<ServerHttp2Session>();
  app.on("session", (session) => {
    sessions.add(session);
    session.on("error", () => {});
    session.once("close", () => sessions.delete(session));
    setTimeout(() => session.close(), lifeMs);
  });
  app.on("stream", (stream: ServerHttp2Stream) => {
    found.calls += 1;
    stream.on("error", () => {});
    stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    stream.once("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    stream.pipe(stream);
  });
  await new Promise<void>((resolve) => app.listen(0, "127.0.0.1", resolve));
  t.teardown(() => {
    for (const session of sessions) session.destroy();
    app.close();
  });
  found.port = (app.address() as AddressInfo).port;
  return found;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

// Three instances behind one connection of a client, which would otherwise stay with one of them for ever: calls are shared evenly; one that is slow, fails or can't be
// reached gets fewer, and the client sees no more errors than the rules of retries leave.
import { status } from "@grpc/grpc-js";
import t, { type Test } from "tap";
import { DEFAULT_BREAKER } from "../../../sidecar/resilience/breaker.ts";
import type { EngineName } from "../../../sidecar/engine.ts";
import { echoClient } from "../../support/echo-grpc.ts";
import { type FleetOptions, type Instance, MeshFleet } from "../../support/mesh-fleet.ts";
import { openConnections } from "../../support/mesh-fixture.ts";
import { startUnaryApp, type UnaryApp } from "../../support/unary-app.ts";
import { callMany, shown } from "../../support/unary-load.ts";

const PARALLEL = 16;
const IDEMPOTENT = "service=orders path=/test.Echo/ retry=idempotent";
/** As many calls may be out at an endpoint when its breaker opens. */
const MOST_ERRORS = DEFAULT_BREAKER.failures + PARALLEL;

interface Fleet {
  readonly fleet: MeshFleet;
  readonly apps: readonly [UnaryApp, UnaryApp, UnaryApp];
  readonly instances: readonly [Instance, Instance, Instance];
  /** Makes calls, and gives what became of them and the share of each app, in percent. */
  call(count: number): Promise<{ readonly failed: readonly string[]; readonly shares: readonly [number, number, number] }>;
}

/** Registers the tests for one engine. */
export function grpcBalancing(engine: EngineName): void {
  const test = (name: string, options: FleetOptions, run: (t: Test, fleet: Fleet) => Promise<void>) =>
    t.test(`${engine}: ${name}`, async (t) => run(t, await startFleet(t, { engine, ...options })));

  test("calls of one connection are shared evenly", {}, async (t, { fleet, call }) => {
    await call(300);
    const { failed, shares } = await call(1_500);
    t.same(failed, []);
    for (const share of shares) t.ok(share > 25 && share < 42, `${share} %`);
    t.equal(await openConnections(fleet.caller.metrics, "outbound"), 1, "one connection of the client");
  });

  test("a slow instance gets few calls", {}, async (t, { apps, call }) => {
    const startedMonoMs = performance.now();
    await call(300);
    const usualMs = ((performance.now() - startedMonoMs) * PARALLEL) / 300;
    apps[1].delayMs = Math.max(50, 10 * usualMs);
    await call(200);
    const { failed, shares } = await call(1_000);
    t.same(failed, []);
    t.ok(shares[1] < 15, `${shares[1]} %`);
  });

  test("an instance that fails is left alone; what it answered before is not asked for twice", {}, async (t, { apps, call }) => {
    await call(300);
    apps[1].failure = status.UNAVAILABLE;
    const before = apps[1].calls;
    const { failed, shares } = await call(2_000);
    t.ok(failed.length > 0 && failed.length <= MOST_ERRORS, `${failed.length} errors of at most ${MOST_ERRORS}`);
    t.equal(failed.length, apps[1].calls - before, "each is one that it answered");
    t.ok(shares[1] < 3, `${shares[1]} %`);
  });

  test("calls that may be made twice show no errors when an instance fails", { routes: IDEMPOTENT }, async (t, { apps, call }) => {
    await call(300);
    apps[1].failure = status.UNAVAILABLE;
    const { failed, shares } = await call(2_000);
    t.same(failed, []);
    t.ok(shares[1] < 3, `${shares[1]} %`);
  });

  test(
    "calls that may be made twice show those errors that the retry budget leaves",
    {
      routes: IDEMPOTENT,
      retryBudget: { ratio: 0.1, minPerSecond: 0 },
    },
    async (t, { apps, call }) => {
      await call(300);
      for (const app of apps) app.failure = status.UNAVAILABLE;
      const before = apps.reduce((sum, { calls }) => sum + calls, 0);
      const { failed } = await call(1_000);
      const attempts = apps.reduce((sum, { calls }) => sum + calls, 0) - before;
      t.comment(`all fail: ${attempts} attempts for 1000 calls, ${failed.length} failed`);
      t.equal(failed.length, 1_000);
      t.ok(attempts <= 1_000 + 0.1 * 1_300 + 1, "a tenth more at most");
    },
  );

  test("an instance whose app is gone, and one whose sidecar is, cost the client nothing", {}, async (t, { apps, instances, call }) => {
    await call(300);
    apps[1].die();
    const gone = await call(1_000);
    t.ok(gone.failed.length <= PARALLEL, `${gone.failed.length} were under way`);
    t.same((await call(1_000)).failed, [], "none is sent where nobody listens");
    await instances[2].sidecar.close();
    const left = await call(1_000);
    t.ok(left.failed.length <= PARALLEL, `${left.failed.length} were under way`);
    t.same((await call(1_000)).failed, []);
  });
}

async function startFleet(t: Test, options: FleetOptions): Promise<Fleet> {
  const fleet = await MeshFleet.start(t, options);
  const apps = [await startUnaryApp(t), await startUnaryApp(t), await startUnaryApp(t)] as const;
  const instances = [await fleet.add(apps[0].port), await fleet.add(apps[1].port), await fleet.add(apps[2].port)] as const;
  const client = echoClient(fleet.caller.port, "orders", { "grpc.enable_retries": 0 });
  t.teardown(() => client.close());
  return {
    fleet,
    apps,
    instances,
    async call(count) {
      const before = apps.map(({ calls }) => calls);
      const figures = await callMany(client, count, PARALLEL);
      const share = (index: 0 | 1 | 2) => Math.round((1000 * (apps[index].calls - (before[index] ?? 0))) / count) / 10;
      const shares = [share(0), share(1), share(2)] as const;
      t.comment(`${shown(figures)}; shares ${shares.join(", ")} %`);
      return { failed: figures.failed, shares };
    },
  };
}

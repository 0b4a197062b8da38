import t from "tap";
import { connectRolloutApi } from "../../../injector/rollout/rollout-api.ts";
import { LEASE_SECONDS } from "../../../injector/rollout/lease-lock.ts";
import { startKubeApi } from "../../support/kube-api.ts";

const START_MS = Date.UTC(2026, 0, 1);
const LEASE_MS = LEASE_SECONDS * 1000;

t.test("one of several replicas holds the lock, and another one only after it", async (t) => {
  const kube = await startKubeApi();
  t.teardown(() => kube.close());
  const api = await connectRolloutApi("remora-system", { kubeconfig: kube.kubeconfig() });
  const [first, second] = [api.lock("remora-overseer", "a"), api.lock("remora-overseer", "b")];
  t.equal(await first.hold(START_MS, 0), true);
  t.equal(await second.hold(START_MS, 0), false);
  t.equal(await first.hold(START_MS + 5_000, 5_000), true, "renewed");
  t.equal(await second.hold(START_MS, LEASE_MS + 4_000), false, "the time counts from the last renewal that was seen");
  t.equal(await second.hold(START_MS, 2 * LEASE_MS + 4_000), true, "nobody renewed it");
  t.equal(await first.hold(START_MS, 2 * LEASE_MS + 4_000), false, "who lost it does not act");
  const spec = kube.get("leases", "remora-system", "remora-overseer")?.["spec"];
  t.match(spec, { holderIdentity: "b", leaseTransitions: 1, leaseDurationSeconds: LEASE_SECONDS });
  await second.release();
  t.equal(await first.hold(START_MS, 2 * LEASE_MS + 4_001), true, "given up, it is free at once");
});

t.test("of two that reach for it at once, one gets it; without the API server nobody has it", async (t) => {
  const kube = await startKubeApi();
  t.teardown(() => kube.close());
  const api = await connectRolloutApi("remora-system", { kubeconfig: kube.kubeconfig() });
  const locks = Array.from({ length: 5 }, (_, index) => api.lock("remora-overseer", `replica-${index}`));
  const held = await Promise.all(locks.map((lock) => lock.hold(START_MS, 0)));
  t.equal(held.filter(Boolean).length, 1);
  const holder = locks[held.indexOf(true)];
  kube.failNext(500, 1);
  await t.rejects(async () => void (await holder?.hold(START_MS, 1_000)));
  t.equal(await holder?.hold(START_MS, 2_000), true);
});

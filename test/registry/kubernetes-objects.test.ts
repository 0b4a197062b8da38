// What the registry makes of Kubernetes objects of any shape: seeded fuzz over Services, EndpointSlices and Pods. Nothing throws, an odd object disturbs
// no other, and what was built change by change is what would be built of the end state at once.
import t from "tap";
import type { ObjectChange } from "../../core/kubernetes/watched-list.ts";
import { systemClock } from "../../core/clock.ts";
import { createCatalog, type Catalog } from "../../registry/kubernetes-catalog.ts";
import { readNamespace, readPod, type KubernetesPod } from "../../registry/kubernetes-pods.ts";
import { readService, readSlice, type ServiceFacts, type SliceFacts } from "../../registry/kubernetes-services.ts";
import type { Lease } from "../../registry/lease.ts";
import { createPodDirectory } from "../../registry/pod-directory.ts";
import { createSeededRandom, type SeededRandom } from "../support/seeded-random.ts";

const SEEDS = [1, 2, 3, 4, 5, 6];
const STEPS = 2_000;
const NAMES = ["a", "b", "__proto__", "constructor", "orders", "x".repeat(63), "ä/..", ""];
const ADDRESSES = ["10.0.0.1", "10.0.0.2", "fd00::1", "FD00:0::1", "::ffff:10.0.0.1", "None", "", "10.0.0.256", "127.0.0.1%eth0", "0x7f.1"];
const UIDS = ["u1", "u2", "u3", "__proto__", ""];

/** Anything but what was expected. */
function odd(random: SeededRandom): unknown {
  return random.pick<() => unknown>([
    () => null,
    () => undefined,
    () => random.next() * 1e9 - 5e8,
    () => Number.NaN,
    () => "☃".repeat(random.below(20_000)),
    () => true,
    () => [],
    () => [[null], { "": [] }],
    () => ({}),
    () => JSON.parse('{"__proto__":{"name":"polluted"},"constructor":1,"length":4294967295}') as unknown,
    () => () => "a function",
  ])();
}

/** `sound`, or now and then something else in its place. */
function maybe(random: SeededRandom, sound: () => unknown): unknown {
  return random.below(12) === 0 ? odd(random) : sound();
}

function some(random: SeededRandom, make: () => unknown): unknown {
  return maybe(random, () => Array.from({ length: random.below(4) }, () => maybe(random, make)));
}

function metadata(random: SeededRandom): unknown {
  return maybe(random, () => ({
    name: maybe(random, () => random.pick(NAMES)),
    namespace: maybe(random, () => random.pick(NAMES)),
    uid: maybe(random, () => random.pick(UIDS)),
    resourceVersion: maybe(random, () => String(random.below(1e9))),
    labels: maybe(random, () => ({ "kubernetes.io/service-name": maybe(random, () => random.pick(NAMES)) })),
    annotations: maybe(random, () => ({
      "remora.io/skip-inbound-ports": maybe(random, () => random.pick(["80", "1,2,,x", ",".repeat(1e5)])),
    })),
  }));
}

function port(random: SeededRandom): unknown {
  return {
    name: maybe(random, () => random.pick(["http", "grpc-x", "", "__proto__"])),
    port: maybe(random, () => random.below(70_000) - 100),
    targetPort: maybe(random, () => random.pick<unknown>([8080, "web", "", -1, 1.5])),
    protocol: maybe(random, () => random.pick<unknown>(["TCP", "UDP", "SCTP", null, "tcp"])),
    appProtocol: maybe(random, () => random.pick(["grpc", "constructor", "http"])),
  };
}

function service(random: SeededRandom): unknown {
  return {
    metadata: metadata(random),
    spec: maybe(random, () => ({
      type: maybe(random, () => random.pick(["ClusterIP", "ExternalName", "LoadBalancer"])),
      clusterIP: maybe(random, () => random.pick(ADDRESSES)),
      clusterIPs: some(random, () => random.pick(ADDRESSES)),
      ports: some(random, () => port(random)),
    })),
    status: maybe(random, () => ({ loadBalancer: { ingress: some(random, () => ({ ip: random.pick(ADDRESSES), ipMode: "VIP" })) } })),
  };
}

function slice(random: SeededRandom): unknown {
  return {
    metadata: metadata(random),
    ports: some(random, () => port(random)),
    endpoints: some(random, () => ({
      addresses: some(random, () => random.pick(ADDRESSES)),
      conditions: maybe(random, () => ({ ready: random.pick<unknown>([true, false, null]) })),
      hostname: maybe(random, () => random.pick(NAMES)),
      targetRef: maybe(random, () => ({ kind: random.pick(["Pod", "Node"]), uid: random.pick(UIDS) })),
    })),
  };
}

function pod(random: SeededRandom): unknown {
  return {
    metadata: metadata(random),
    spec: maybe(random, () => ({
      serviceAccountName: maybe(random, () => random.pick(NAMES)),
      hostNetwork: maybe(random, () => random.pick<unknown>([true, false, null])),
      initContainers: some(random, () => ({
        name: "remora-init",
        env: some(random, () => ({ name: "REMORA_SKIP_INBOUND_PORTS", value: random.pick<unknown>(["80", "", 7, "x"]) })),
      })),
    })),
    status: maybe(random, () => ({
      phase: maybe(random, () => random.pick(["Running", "Succeeded", "Pending"])),
      podIP: maybe(random, () => random.pick(ADDRESSES)),
      podIPs: some(random, () => ({ ip: random.pick(ADDRESSES) })),
    })),
  };
}

/** What a watched list does: keeps facts by place, and says what changed. */
function track<Facts>(held: Map<string, Facts>, place: string, after: Facts | null): ObjectChange<Facts>[] {
  const before = held.get(place) ?? null;
  if (after === null) held.delete(place);
  else held.set(place, after);
  return before === null && after === null ? [] : [{ before, after }];
}

function leaseOf(instanceId: string, address: string): Lease {
  return { instanceId, addresses: [address] } as unknown as Lease; // all that is read of it here
}

function picture(catalog: Catalog): unknown {
  const text = (value: unknown) => JSON.stringify(value, (_key, inner: unknown) => (inner instanceof Map ? [...inner] : inner));
  const addresses = ADDRESSES.map((address) => [catalog.byClusterAddress(address)?.name, catalog.byBalancerAddress(address)?.name]);
  const members = UIDS.flatMap((uid) => ADDRESSES.map((address) => [...new Set(catalog.selecting(leaseOf(uid, address)))].sort()));
  return { entries: [...catalog.entries].map(([id, entry]) => [id, text(entry)]).sort(), addresses, members };
}

t.test("objects of any shape, change by change", (t) => {
  for (const seed of SEEDS) {
    const random = createSeededRandom(seed);
    const catalog = createCatalog();
    const services = new Map<string, ServiceFacts>();
    const slices = new Map<string, SliceFacts>();
    const sound = readService({
      metadata: { name: "sound", namespace: "calm", resourceVersion: "1" },
      spec: { clusterIP: "10.9.9.9", ports: [{ port: 80 }] },
    });
    for (const id of catalog.takeServices(track(services, "calm/sound", sound))) catalog.rebuild(id);
    const before = catalog.entries.get("calm/sound");

    for (let step = 0; step < STEPS; step += 1) {
      const place = String(random.below(12));
      const touched =
        random.below(2) === 0
          ? catalog.takeServices(track(services, place, random.below(4) === 0 ? null : readService(service(random))))
          : catalog.takeSlices(track(slices, place, random.below(4) === 0 ? null : readSlice(slice(random))));
      if (random.below(3) > 0) for (const id of touched) catalog.rebuild(id);
      else for (const id of [...services.values()].map((facts) => facts.id)) catalog.rebuild(id);
    }
    t.equal(catalog.entries.get("calm/sound"), before, "an entry that nothing was said of is the very same");
    t.equal(catalog.byClusterAddress("10.9.9.9"), before);
    t.equal(({} as { readonly name?: string }).name, undefined, "nothing is polluted");
  }
  t.end();
});

t.test("what is built change by change is what is built at once", (t) => {
  let compared = 0;
  for (const seed of SEEDS) {
    const random = createSeededRandom(100 + seed);
    const catalog = createCatalog();
    const services = new Map<string, ServiceFacts>();
    const slices = new Map<string, SliceFacts>();
    const stale = new Set<string>();
    for (let step = 0; step < STEPS; step += 1) {
      const facts = random.below(2) === 0 ? readService(service(random)) : readSlice(slice(random));
      const isGone = random.below(4) === 0;
      if (facts !== null && "serviceId" in facts) {
        const place = `${facts.serviceId.split("/")[0]}/${facts.name}`;
        for (const id of catalog.takeSlices(track(slices, place, isGone ? null : facts))) stale.add(id);
      } else if (facts !== null) {
        for (const id of catalog.takeServices(track(services, facts.id, isGone ? null : facts))) stale.add(id);
      }
      if (random.below(3) > 0) continue;
      for (const id of stale) catalog.rebuild(id);
      stale.clear();
      if (random.below(20) > 0) continue;
      const fresh = createCatalog();
      const all = <Facts>(held: Map<string, Facts>) => [...held.values()].map((after) => ({ before: null, after }));
      for (const id of [...fresh.takeSlices(all(slices)), ...fresh.takeServices(all(services))]) fresh.rebuild(id);
      t.strictSame(picture(catalog), picture(fresh), `seed ${seed}, step ${step}`);
      compared += 1;
    }
  }
  t.ok(compared > 100, `${compared} comparisons`);
  t.end();
});

t.test("pods of any shape", (t) => {
  for (const seed of SEEDS) {
    const random = createSeededRandom(200 + seed);
    const directory = createPodDirectory(systemClock, () => undefined);
    const held = new Map<string, KubernetesPod>();
    const calm = readPod({ metadata: { uid: "calm", namespace: "n", name: "p" }, status: { podIP: "10.7.7.7" } });
    directory.take(track(held, "calm", calm));
    for (let step = 0; step < STEPS; step += 1) {
      readNamespace(pod(random));
      const place = String(random.below(6));
      const after = random.below(4) === 0 ? null : readPod(pod(random));
      directory.take(track(held, place, after === null ? null : { ...after, uid: `${place}-${random.below(3)}` }));
      for (const uid of UIDS) directory.skips(uid, random.below(65_536));
    }
    t.strictSame([...directory.at("10.7.7.7")], ["calm"]);
    for (const address of ADDRESSES) {
      const owners = [...held.values()].filter((known) => !known.onHostNetwork && known.addresses.includes(address)).map(({ uid }) => uid);
      t.strictSame([...directory.at(address)].sort(), [...new Set(owners)].sort(), `${address} is at those who have it`);
    }
  }
  t.end();
});

t.test("somebody who waits for a pod hears of it, and everybody once it closes", async (t) => {
  const directory = createPodDirectory(systemClock, () => undefined);
  const keepsAlive = setInterval(() => {}, 1000);
  t.teardown(() => clearInterval(keepsAlive));
  const waits = directory.changed("u1", 60_000);
  const inVain = directory.changed("u2", 20);
  directory.take([{ before: null, after: readPod({ metadata: { uid: "u1", namespace: "n", name: "p" } }) }]);
  t.equal(await waits, true);
  t.equal(await inVain, false);
  const late = directory.changed("u3", 60_000);
  directory.close();
  t.equal(await late, false);
});

// The simulated sidecars together: accounts with a service each, connections that some of them share, who watches whom.
import { randomUUID } from "node:crypto";
import { createSecureContext } from "node:tls";
import { setTimeout as sleep } from "node:timers/promises";
import type { ThrowawayCa } from "../../test/support/throwaway-ca.ts";
import { createDueClock } from "./due-clock.ts";
import { createLink, type Link } from "./link.ts";
import { type SimulatedSidecar, startSidecar } from "./sidecar.ts";
import type { Tally } from "./tally.ts";

const SETTLE_CHECK_MS = 50;

/** What the sidecars of one account prove themselves with. */
export interface Papers {
  readonly rootPem: string;
  readonly keyPem: string;
  readonly certPem: string;
  readonly messageCertificate: Buffer;
}

/** How many, and how they are spread. */
export interface FleetOptions {
  /** Of each account, which has a service of the same name. */
  papersOf(service: string): Papers;
  /** Where the addresses that they announce begin: no two fleets may share one. */
  readonly firstAddress: number;
  readonly tally: Tally;
  /** gRPC ports of the replicas; connections take turns. */
  readonly ports: readonly number[];
  readonly sidecars: number;
  /** Instances of each service; also of each account. */
  readonly perService: number;
  /** Sidecars on one connection; all of one account. */
  readonly perConnection: number;
  /** Services that each sidecar watches. */
  readonly watches: number;
}

/** The fleet. */
export interface Fleet {
  readonly connections: number;
  /** Starts all within about `rampMs`. */
  start(rampMs: number): Promise<void>;
  /** Resolves with the time it took until every sidecar is settled, ms; rejects after `timeoutMs`. */
  untilSettled(timeoutMs: number): Promise<number>;
  settled(): number;
  /** Cuts every connection at once. */
  cutAll(): void;
  /** Replaces `count` sidecars, `perSecond` of them: each leaves, and another takes its place under a new name and address. */
  roll(count: number, perSecond: number): Promise<void>;
  close(): void;
}

interface Place {
  readonly link: Link;
  readonly account: number;
  readonly messageCertificate: Buffer;
  sidecar: SimulatedSidecar | null;
}

/** Makes certificates and contexts; connects to nothing yet. */
export function createFleet(options: FleetOptions): Fleet {
  const { sidecars, perService, perConnection } = options;
  const clock = createDueClock();
  const accounts = Math.ceil(sidecars / perService);
  const places: Place[] = [];
  const links: Link[] = [];
  let addresses = options.firstAddress;

  for (let account = 0; account < accounts; account += 1) {
    const { rootPem, keyPem, certPem, messageCertificate } = options.papersOf(serviceOf(account));
    const context = createSecureContext({ ca: rootPem, key: keyPem, cert: certPem, minVersion: "TLSv1.3" });
    const members = Math.min(perService, sidecars - account * perService);
    for (let member = 0; member < members; member += 1) {
      if (member % perConnection === 0) links.push(createLink(options.ports[links.length % options.ports.length] ?? 0, context));
      const link = links.at(-1);
      if (link !== undefined) places.push({ link, account, messageCertificate, sidecar: null });
    }
  }

  function occupy(place: Place): void {
    const watches = Array.from({ length: options.watches }, (_, index) => serviceOf((place.account * 7 + index * 13 + 1) % accounts));
    place.sidecar = startSidecar({
      link: place.link,
      clock,
      tally: options.tally,
      instanceId: randomUUID(),
      address: addressOf(addresses++),
      service: serviceOf(place.account),
      watches: [...new Set(watches)],
      messageCertificate: place.messageCertificate,
    });
  }

  const settled = () => places.filter(({ sidecar }) => sidecar?.isSettled() === true).length;
  return {
    connections: links.length,
    settled,
    start: (rampMs) => paced(shuffled(places), (sidecars / rampMs) * 1000, (place) => occupy(place)),
    async untilSettled(timeoutMs) {
      const beganMonoMs = performance.now();
      while (settled() < places.length) {
        if (performance.now() - beganMonoMs > timeoutMs)
          throw new Error(
            `${settled()} of ${places.length} sidecars are settled after ${timeoutMs} ms: ${JSON.stringify(options.tally.counts().failures)}`,
          );
        await sleep(SETTLE_CHECK_MS);
      }
      return performance.now() - beganMonoMs;
    },
    cutAll() {
      for (const link of links) link.cut();
    },
    roll: (count, perSecond) =>
      paced(shuffled(places).slice(0, count), perSecond, (place) => {
        void place.sidecar?.leave();
        occupy(place);
      }),
    close() {
      for (const { sidecar } of places) sidecar?.close();
      for (const link of links) link.cut();
    },
  };
}

/** Runs `act` for each item, `perSecond` of them, evenly. */
export async function paced<Item>(items: readonly Item[], perSecond: number, act: (item: Item) => void): Promise<void> {
  const beganMonoMs = performance.now();
  for (let done = 0; done < items.length; ) {
    const due = Math.min(items.length, Math.ceil(((performance.now() - beganMonoMs) / 1000) * perSecond));
    for (; done < due; done += 1) act(items[done] as Item); // below the length
    await sleep(2);
  }
}

function shuffled<Item>(items: readonly Item[]): Item[] {
  return items
    .map((item) => ({ item, order: Math.random() }))
    .sort((a, b) => a.order - b.order)
    .map(({ item }) => item);
}

/** Papers of `namespace` as `ca` issues them. */
export function papersBy(ca: ThrowawayCa, namespace: string): (service: string) => Papers {
  return (service) => {
    const { keyPem, certPem } = ca.leaf(`${namespace}/${service}`);
    return { rootPem: ca.rootPem, keyPem, certPem, messageCertificate: ca.messageCertificate(`${namespace}/${service}`).der };
  };
}

/** The service of the account of a number. */
export function serviceOf(account: number): string {
  return `svc-${account}`;
}

/** Loopback has 16 million; a connection over loopback may announce any of them. */
function addressOf(index: number): string {
  const number = index + 0x0001_0001;
  return `127.${(number >> 16) & 255}.${(number >> 8) & 255}.${number & 255}`;
}

// What becomes of open connections when a root is removed, on real TLS with a fake clock.
import { connect, createServer, type TLSSocket } from "node:tls";
import t, { type Test } from "tap";
import type { Credentials, IdentitySource } from "../../sidecar/identity/identity-source.ts";
import { createTrustWatch } from "../../sidecar/trust-watch.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { createStaticIdentity, createThrowawayCa, type ThrowawayCa } from "../support/throwaway-ca.ts";

const ORDERS = "spiffe://cluster.local/ns/shop/sa/orders";
const SPREAD_MS = 5_000;
const DRAIN_MS = 7_000;

/** An identity of `ca` that believes all of `trusted`. */
function credentialsOf(ca: ThrowawayCa, trusted: readonly ThrowawayCa[]): Credentials {
  return {
    ...createStaticIdentity(ca, ORDERS).current(),
    roots: trusted.map(({ root }) => root),
    rootsPem: trusted.map(({ rootPem }) => rootPem).join(""),
  };
}

/** An identity source that the test changes. */
function createIdentity(first: Credentials) {
  let current = first;
  let heard: ((credentials: Credentials) => void) | null = null;
  const source: IdentitySource = {
    ...createStaticIdentity(createThrowawayCa(), ORDERS),
    current: () => current,
    onChange(run) {
      heard = run;
      return () => {
        heard = null;
      };
    },
  };
  return {
    source,
    swap(next: Credentials) {
      current = next;
      heard?.(next);
    },
  };
}

/** Both ends of a connection on which each shows a leaf of `ca`. */
async function connected(t: Test, ca: ThrowawayCa): Promise<{ readonly client: TLSSocket; readonly served: TLSSocket }> {
  const leaf = ca.leaf("shop/orders");
  const own = { key: leaf.keyPem, cert: leaf.certPem, ca: ca.rootPem };
  const { promise, resolve } = Promise.withResolvers<TLSSocket>();
  const server = createServer({ ...own, requestCert: true }, resolve);
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as { port: number };
  const client = connect({ host: "127.0.0.1", port, ...own, checkServerIdentity: () => undefined });
  const served = await promise;
  for (const socket of [client, served]) socket.on("error", () => {});
  t.teardown(() => {
    client.destroy();
    server.close();
  });
  return { client, served };
}

t.test("connections of a removed root take no further request, are asked to end, and are cut off; others are left alone", async (t) => {
  const clock = createFakeClock(Date.now());
  const [old, next] = [createThrowawayCa(), createThrowawayCa()];
  const identity = createIdentity(credentialsOf(old, [old]));
  const told: [number, string][] = [];
  const watch = createTrustWatch({
    identity: identity.source,
    drainTimeoutMs: DRAIN_MS,
    clock,
    random: () => 0.5,
    observer: { distrusted: (connections, how) => void told.push([connections, how]) },
  });
  t.teardown(() => watch.close());
  const [before, inbound] = [await connected(t, old), await connected(t, old)];
  let asked = 0;
  watch.dialled(before.client);
  watch.accepted(inbound.served, () => {
    asked += 1;
  });

  identity.swap(credentialsOf(old, [old, next]));
  clock.advance(60_000);
  t.same([watch.generation(), asked, told], [0, 0, []], "a root that was added changes nothing");

  identity.swap(credentialsOf(next, [old, next]));
  const after = await connected(t, next);
  watch.dialled(after.client);
  identity.swap(credentialsOf(next, [next]));
  clock.advance(SPREAD_MS / 2 - 1);
  t.equal(watch.generation(), 0, "not all sidecars at once");
  clock.advance(1);
  t.equal(watch.generation(), 1, "requests take new connections from here on");
  clock.advance(SPREAD_MS * 1.5);
  t.equal(asked, 1, "a caller that has not left is asked to");
  t.same(told, [[2, "asked"]]);
  t.notOk(before.client.destroyed || inbound.served.destroyed, "what is under way goes on");
  clock.advance(DRAIN_MS);
  t.ok(before.client.destroyed && inbound.served.destroyed, "none outlives its trust");
  t.notOk(after.client.destroyed, "one of the new root stays");
  t.same(told.at(-1), [2, "cut"]);
});

t.test("who keeps its old certificate is cut off too: the peer does not believe it any more", async (t) => {
  const clock = createFakeClock(Date.now());
  const [old, next] = [createThrowawayCa(), createThrowawayCa()];
  const identity = createIdentity(credentialsOf(old, [old, next]));
  const watch = createTrustWatch({ identity: identity.source, drainTimeoutMs: 0, clock, random: () => 0, observer: { distrusted() {} } });
  t.teardown(() => watch.close());
  const { client } = await connected(t, next); // the peer is of the new root, our own leaf of the old one
  watch.dialled(client);
  identity.swap(credentialsOf(next, [next]));
  clock.advance(3 * SPREAD_MS);
  t.ok(client.destroyed);
});

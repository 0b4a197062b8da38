// Real handshakes with certificates that OpenSSL finds too young: what a server believes whose clock stepped back.
import { once } from "node:events";
import type { X509Certificate } from "node:crypto";
import type { AddressInfo } from "node:net";
import { connect, createServer, type TLSSocket } from "node:tls";
import t from "tap";
import { systemClock } from "../../core/clock.ts";
import { findRoot } from "../../core/x509/chain.ts";
import { createJudgedAt, type JudgedAt } from "../../core/x509/judged-at.ts";
import { verifiedChain } from "../../grpc/verified-chain.ts";
import { createThrowawayCa, type Leaf, type ThrowawayCa } from "../support/throwaway-ca.ts";

const HOUR_MS = 3_600_000;
const ca = createThrowawayCa();
const { trustDomain } = ca;

let aheadMs = HOUR_MS;
/** As it is on a machine whose clock stepped back by an hour. */
const steppedBack: JudgedAt = createJudgedAt({ ...systemClock, nowMs: () => systemClock.nowMs() + aheadMs });
aheadMs = 0;

/** The server's side of a handshake with `leaf`. */
async function accepted(t: { teardown(run: () => unknown): void }, leaf: Leaf, roots = ca.rootPem): Promise<TLSSocket> {
  const own = ca.leaf("remora-system/remora-control");
  const server = createServer({ key: own.keyPem, cert: own.certPem, ca: roots, requestCert: true, rejectUnauthorized: false });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const client = connect({ port, host: "127.0.0.1", rejectUnauthorized: false, key: leaf.keyPem, cert: leaf.certPem });
  client.on("error", () => {});
  t.teardown(() => [client.destroy(), server.close()]);
  const [socket] = (await once(server, "secureConnection")) as [TLSSocket];
  socket.on("error", () => {});
  return socket;
}

function trusts(authority: ThrowawayCa, judgedAt: JudgedAt) {
  return (leaf: X509Certificate, issuers: readonly X509Certificate[]) =>
    findRoot(leaf, { issuers, roots: [authority.root], trustDomain, nowMs: judgedAt(leaf) }) !== null;
}

t.test("a certificate that was signed a moment ago is verified after a step back of the clock, and not without one", async (t) => {
  const nowMs = Date.now();
  const young = ca.leaf("shop/web", { notBeforeMs: nowMs + HOUR_MS / 2, notAfterMs: nowMs + HOUR_MS });
  const socket = await accepted(t, young);
  t.match(String(socket.authorizationError), "CERT_NOT_YET_VALID");
  t.same(verifiedChain(socket, steppedBack, trusts(ca, steppedBack))[0]?.raw, young.der);
  const usual = createJudgedAt(systemClock);
  t.same(verifiedChain(socket, usual, trusts(ca, usual)), [], "nobody has seen that time");
  t.same(verifiedChain(socket, steppedBack, undefined), [], "nobody walks the chain");
});

t.test("a root that is as young is no hindrance", async (t) => {
  const nowMs = Date.now();
  const young = createThrowawayCa({ nowMs: nowMs + HOUR_MS / 2 });
  const leaf = young.leaf("shop/web");
  const socket = await accepted(t, leaf, young.rootPem);
  t.same(verifiedChain(socket, steppedBack, trusts(young, steppedBack))[0]?.raw, leaf.der);
});

t.test("a step back brings back nothing else", async (t) => {
  const nowMs = Date.now();
  const youth = { notBeforeMs: nowMs + HOUR_MS / 2, notAfterMs: nowMs + HOUR_MS };
  const strangers: Readonly<Record<string, Leaf>> = {
    "of another root with the same name": createThrowawayCa().leaf("shop/web", youth),
    "younger than what was seen": ca.leaf("shop/web", { notBeforeMs: nowMs + 2 * HOUR_MS, notAfterMs: nowMs + 3 * HOUR_MS }),
    "over before it began": ca.leaf("shop/web", { notBeforeMs: nowMs + HOUR_MS / 2, notAfterMs: nowMs - HOUR_MS }),
    expired: ca.badLeaf("expired", "shop/web"),
  };
  for (const [what, leaf] of Object.entries(strangers)) {
    const socket = await accepted(t, leaf);
    t.notOk(socket.authorized, what);
    t.same(verifiedChain(socket, steppedBack, trusts(ca, steppedBack)), [], what);
  }
});

t.test("what OpenSSL verified is verified", async (t) => {
  const leaf = ca.leaf("shop/web");
  const socket = await accepted(t, leaf);
  t.same(verifiedChain(socket, steppedBack, undefined)[0]?.raw, leaf.der);
});

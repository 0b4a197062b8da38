import { randomBytes, X509Certificate } from "node:crypto";
import t from "tap";
import { createServerCredentials } from "../../certs/server-credentials.ts";
import { createTrustState } from "../../certs/trust-bundle.ts";
import { silentLogger } from "../../core/log.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { createThrowawayCa } from "../support/throwaway-ca.ts";

const HOUR_MS = 3_600_000;

function start(leafTtlMs = 24 * HOUR_MS) {
  const clock = createFakeClock();
  const ca = createThrowawayCa({ nowMs: clock.nowMs() });
  const trust = createTrustState([ca.root.raw]);
  const parts = { clock, random: randomBytes, leafTtlMs, root: () => ca.signer, trust, log: silentLogger() };
  const own = createServerCredentials(ca.id("remora-system/remora-control"), parts);
  let changes = 0;
  own.onTlsChange(() => {
    changes += 1;
  });
  return { clock, ca, trust, own, changes: () => changes };
}

t.test("the control plane's certificate is renewed at 70 % of its life, with a new key", async (t) => {
  const { clock, own, changes } = start();
  const first = own.tls();
  clock.advance(16.7 * HOUR_MS);
  t.equal(own.tls(), first);
  clock.advance(0.2 * HOUR_MS);
  t.equal(changes(), 1);
  t.not(own.tls().key, first.key);
  t.ok(new X509Certificate(own.tls().cert).validToDate.getTime() > clock.nowMs() + 23 * HOUR_MS);
  own.close();
  t.equal(clock.armed, 0, "close leaves no timer");
});

t.test("a change of the roots reaches the server at once", async (t) => {
  const { own, ca, trust, changes } = start();
  const next = createThrowawayCa();
  trust.replace([ca.root.raw, next.root.raw]);
  t.equal(changes(), 1);
  t.equal(own.tls().ca, `${ca.rootPem}${next.rootPem}`);
  t.equal(trust.current().version, 2);
  own.close();
});

t.test("near the root's end leaves end with it; past it nothing is signed and what is there stays", async (t) => {
  const { own, clock, ca } = start(3651 * 24 * HOUR_MS);
  const leaf = new X509Certificate(own.tls().cert);
  t.equal(leaf.validToDate.getTime(), ca.root.validToDate.getTime());
  const last = own.tls();
  clock.stepWall(3660 * 24 * HOUR_MS);
  clock.advance(HOUR_MS);
  t.equal(own.tls(), last);
  own.close();
});

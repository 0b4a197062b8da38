import { randomBytes, X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import { connect, createServer } from "node:tls";
import type { Test } from "tap";
import t from "tap";
import { CertError } from "../../../core/errors.ts";
import { checkMessageCertificate, checkPeerCertificate, messageKeyId } from "../../../core/x509/peer-check.ts";
import { formatPin, formatShortPin, matchesPin, parsePin } from "../../../core/x509/pin.ts";
import { verifyPeer } from "../../../core/x509/verify-peer.ts";
import type { BadLeaf, Leaf, ThrowawayCa } from "../../support/throwaway-ca.ts";
import { BAD_LEAVES, createThrowawayCa } from "../../support/throwaway-ca.ts";
import { createSeededRandom } from "../../support/seeded-random.ts";
import { mutate } from "./mutate.ts";

const ca = createThrowawayCa();
const rules = { trustDomain: "cluster.local", nowMs: Date.now() };
const bad = Object.entries(BAD_LEAVES) as [BadLeaf, string][];

t.test("a good leaf gives its identity in both roles", async (t) => {
  const { certificate } = ca.leaf("shop/orders");
  t.equal(checkPeerCertificate(certificate, { ...rules, usage: "server" }), "spiffe://cluster.local/ns/shop/sa/orders");
  t.equal(checkPeerCertificate(certificate, { ...rules, usage: "client" }), "spiffe://cluster.local/ns/shop/sa/orders");
});

t.test("strong keys of other types are fine", async (t) => {
  for (const keyKind of ["p384", "rsa-2048"] as const) {
    t.ok(checkPeerCertificate(ca.leaf("shop/orders", { keyKind }).certificate, { ...rules, usage: "client" }), keyKind);
  }
});

t.test("each bad leaf is refused by its code", async (t) => {
  for (const [kind, code] of bad.filter(([kind]) => kind !== "foreign")) {
    const { certificate } = ca.badLeaf(kind, "shop/orders");
    t.throws(() => checkPeerCertificate(certificate, { ...rules, usage: "client" }), { name: "CertError", code }, kind);
  }
  const { certificate } = ca.leaf("shop/orders", { keyUsage: ["digitalSignature", "keyCertSign"] });
  t.throws(() => checkPeerCertificate(certificate, { ...rules, usage: "client" }), { code: "ca_as_leaf" }, "may sign certificates");
  const agreeing = ca.leaf("shop/orders", { keyUsage: ["keyAgreement"] });
  t.throws(() => checkPeerCertificate(agreeing.certificate, { ...rules, usage: "client" }), { code: "wrong_usage" }, "may not sign");
  const message = ca.messageCertificate("shop/orders");
  t.throws(
    () => checkPeerCertificate(message.certificate, { ...rules, usage: "server" }),
    { code: "wrong_usage" },
    "a message certificate",
  );
});

t.test("message certificates are checked with their issuer", async (t) => {
  const check = (leaf: Leaf) => checkMessageCertificate(leaf.der, { ...rules, roots: [ca.root] });
  const good = ca.messageCertificate("shop/orders");
  t.match(check(good), { identity: "spiffe://cluster.local/ns/shop/sa/orders", keyId: messageKeyId(good.der) });
  t.equal(messageKeyId(good.der).length, 22);
  t.throws(() => check(ca.leaf("shop/orders")), { code: "wrong_usage" }, "a TLS leaf");
  t.throws(() => check(ca.messageCertificate("shop/orders", { keyUsage: ["digitalSignature"] })), { code: "wrong_usage" });
  t.throws(() => check(ca.messageCertificate("shop/orders", { keyKind: "p384" })), { code: "weak_key" });
  t.throws(() => check(ca.messageCertificate("shop/orders", { notAfterMs: rules.nowMs - 1000 })), { code: "expired" });
  t.throws(() => check(ca.messageCertificate("shop/orders", { uris: [] })), { code: "not_one_uri_san" });
  t.throws(() => check(createThrowawayCa().messageCertificate("shop/orders")), { code: "untrusted" });
  t.throws(() => checkMessageCertificate(good.der, { ...rules, roots: [] }), { code: "untrusted" });
  t.throws(() => checkMessageCertificate(Buffer.from("junk"), { ...rules, roots: [ca.root] }), { code: "malformed" });
});

t.test("damaged certificates are refused and never crash", async (t) => {
  const random = createSeededRandom(7);
  const tls = ca.leaf("shop/orders");
  const message = ca.messageCertificate("shop/orders");
  for (let round = 0; round < 1500; round += 1) {
    for (const [der, check] of [
      [tls.der, (bytes: Buffer) => parseAndCheck(bytes)],
      [message.der, (bytes: Buffer) => checkMessageCertificate(bytes, { ...rules, roots: [ca.root] })],
    ] as const) {
      const bytes = mutate(der, random);
      try {
        check(bytes);
        // Only the signature's own bytes of a TLS leaf are not looked at here: its chain is TLS's part.
        if (der === message.der && !bytes.equals(der))
          t.fail(`round ${round}: a changed message certificate is accepted: ${bytes.toString("hex")}`);
      } catch (error) {
        if (!(error instanceof CertError)) t.fail(`round ${round}: ${String(error)} for ${bytes.toString("hex")}`);
      }
    }
  }
});

t.test("over TLS, the accepting side learns who calls or why not", async (t) => {
  const caller = ca.leaf("shop/web");
  t.equal(await seenByServer(t, ca, caller), "spiffe://cluster.local/ns/shop/sa/web");
  for (const [kind, code] of bad)
    t.equal(await seenByServer(t, ca, ca.badLeaf(kind, "shop/web")), code === "weak_key" ? "untrusted" : expectedOverTls(kind, code), kind);
  t.equal(await seenByServer(t, ca, null), "untrusted", "no certificate");
});

t.test("over TLS, the dialling side refuses another identity than the announced one", async (t) => {
  const port = await listen(t, ca.leaf("shop/orders"), ca, () => {});
  const socket = connect({ host: "127.0.0.1", port, ca: ca.rootPem, rejectUnauthorized: false, checkServerIdentity: () => undefined });
  await new Promise((resolve) => socket.once("secureConnect", resolve));
  t.teardown(() => socket.destroy());
  t.equal(verifyPeer(socket, { ...rules, roots: [ca.root], usage: "server", expected: ca.id("shop/orders") }), ca.id("shop/orders"));
  t.throws(() => verifyPeer(socket, { ...rules, roots: [ca.root], usage: "server", expected: ca.id("shop/payments") }), {
    code: "identity_mismatch",
  });
});

t.test("pins name a root in two forms", async (t) => {
  const pin = formatPin(ca.root.raw);
  t.match(pin, /^sha256:[0-9a-f]{64}$/);
  t.equal(pin, `sha256:${ca.root.fingerprint256.replaceAll(":", "").toLowerCase()}`);
  t.same(parsePin(pin), parsePin(formatShortPin(ca.root.raw)));
  t.ok(matchesPin(ca.root.raw, [randomBytes(32), parsePin(pin)]));
  t.notOk(matchesPin(createThrowawayCa().root.raw, [parsePin(pin)]));
  t.notOk(matchesPin(ca.root.raw, []));
  for (const text of ["", "sha256:", "sha256:abc", "md5:00", `${pin}00`]) t.throws(() => parsePin(text), { code: "malformed" }, text);
});

function parseAndCheck(der: Buffer): void {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(der);
  } catch {
    return; // OpenSSL refuses it before we are asked
  }
  checkPeerCertificate(certificate, { ...rules, usage: "client" });
}

/** OpenSSL refuses some itself while it verifies the chain; then the answer is its, in our words. */
function expectedOverTls(kind: BadLeaf, code: string): string {
  return kind === "not-yet-valid" || kind === "wrong-usage" ? "untrusted" : code;
}

async function listen(t: Test, server: Leaf, trusted: ThrowawayCa, onPeer: (socket: TLSSocket) => void): Promise<number> {
  const listener = createServer(
    { key: server.keyPem, cert: server.certPem, ca: trusted.rootPem, requestCert: true, rejectUnauthorized: false, minVersion: "TLSv1.3" },
    (socket) => {
      socket.on("error", () => {});
      onPeer(socket);
    },
  );
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  t.teardown(() => listener.close());
  return (listener.address() as { port: number }).port;
}

async function seenByServer(t: Test, trusted: ThrowawayCa, client: Leaf | null): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  const port = await listen(t, trusted.leaf("shop/orders"), trusted, (socket) => {
    try {
      resolve(verifyPeer(socket, { ...rules, roots: [trusted.root], usage: "client" }));
    } catch (error) {
      resolve(error instanceof CertError ? error.code : String(error));
    }
    socket.destroy();
  });
  // Level 0: OpenSSL itself would not even let our own client load a 1024 bit key.
  const own = client === null ? {} : { key: client.keyPem, cert: client.certPem, ciphers: "DEFAULT@SECLEVEL=0" };
  const socket = connect({ host: "127.0.0.1", port, rejectUnauthorized: false, ...own });
  socket.on("error", () => {});
  const seen = await promise;
  socket.destroy();
  return seen;
}

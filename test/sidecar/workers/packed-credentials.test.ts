import { createPublicKey } from "node:crypto";
import { deserialize, serialize } from "node:v8";
import t from "tap";
import { type PackedCredentials, packCredentials, unpackCredentials } from "../../../sidecar/workers/packed-credentials.ts";
import { createWorkerIdentity } from "../../../sidecar/workers/worker-identity.ts";
import { createStaticIdentity, createThrowawayCa } from "../../support/throwaway-ca.ts";

const ORDERS = "spiffe://cluster.local/ns/default/sa/orders";

t.test("credentials come through a channel as they were, with and without a generation before", async (t) => {
  const source = createStaticIdentity(createThrowawayCa(), ORDERS);
  for (const step of ["first", "renewed"]) {
    const before = source.current();
    const after = unpackCredentials(deserialize(serialize(packCredentials(before))) as PackedCredentials);
    t.equal(after.certificateChainPem, before.certificateChainPem, step);
    t.equal(after.privateKeyPem, before.privateKeyPem);
    t.equal(after.leaf.fingerprint256, before.leaf.fingerprint256);
    t.same(
      after.roots.map((root) => root.fingerprint256),
      before.roots.map((root) => root.fingerprint256),
    );
    t.ok(createPublicKey(after.messageKey).equals(createPublicKey(before.messageKey)));
    t.ok(after.messageCertificate.equals(before.messageCertificate));
    t.same([after.messageKeyId, after.expiresAtMs], [before.messageKeyId, before.expiresAtMs]);
    t.equal(after.previous?.messageKeyId, before.previous?.messageKeyId);
    if (after.previous !== null && before.previous !== null)
      t.ok(createPublicKey(after.previous.messageKey).equals(createPublicKey(before.previous.messageKey)));
    t.equal(after.previous === null, step === "first");
    source.renew();
  }
});

t.test("damaged credentials are refused, not half taken", async (t) => {
  const packed = packCredentials(createStaticIdentity(createThrowawayCa(), ORDERS).current());
  t.throws(() => unpackCredentials({ ...packed, certificateChainPem: "" }));
  t.throws(() => unpackCredentials({ ...packed, messageKeyPem: "none" }));
});

t.test("a worker's identity tells its listeners of each swap, also when one of them fails", async (t) => {
  const source = createStaticIdentity(createThrowawayCa(), ORDERS);
  const errors: unknown[] = [];
  const identity = createWorkerIdentity(source.identity, source.current(), (error) => errors.push(error));
  const heard: string[] = [];
  identity.onChange(() => {
    throw new Error("no");
  });
  const stop = identity.onChange(({ messageKeyId }) => heard.push(messageKeyId));
  source.renew();
  identity.take(source.current());
  t.same(heard, [source.current().messageKeyId]);
  t.equal(identity.current(), source.current());
  t.equal(errors.length, 1);
  stop();
  identity.take(source.current());
  t.equal(heard.length, 1);
  t.throws(() => identity.grpcChannel(), /first process/);
});

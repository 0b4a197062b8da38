import t from "tap";
import { FlatFields } from "../../../sidecar/fields.ts";
import { createNonceCache } from "../../../sidecar/signing/nonce-cache.ts";
import { createVerifier } from "../../../sidecar/signing/verifier.ts";
import { createSigningPair } from "../signing/signing-pair.ts";

for (const mode of ["hmac", "sign"] as const) {
  t.test(`${mode}: a signature is of no use at another worker, though that one has never seen its nonce`, async (t) => {
    const pair = createSigningPair({ mode, required: mode });
    const nonces = createNonceCache({ clock: pair.clock, seed: [3, 4] });
    const elsewhere = createVerifier({
      identity: pair.callee.identity,
      credentials: () => pair.callee.current(),
      required: mode,
      clock: pair.clock,
      certificates: pair.certificates,
      nonces,
    });
    const first = pair.connect();
    const other = pair.connect();
    const wire = pair.request(first);
    const atOtherWorker = (channelBinding: Buffer, state: typeof first.state) =>
      elsewhere.verifyHead({
        method: wire.method,
        authority: wire.authority,
        path: wire.path,
        fields: new FlatFields(wire.headers),
        peer: pair.caller.identity,
        channelBinding,
        connection: state,
      });
    t.match(atOtherWorker(other.channelBinding, other.state), {
      ok: false,
      reason: "signature_invalid",
      detail: "bound to another connection",
    });
    t.equal(nonces.size(), 0, "refused before its nonce is looked at");
    t.match(pair.verify(first, wire), { ok: true });
    t.match(pair.verify(first, wire), { ok: false, reason: "signature_replayed" }, "and on its own connection it counts once");
    t.match(atOtherWorker(other.channelBinding, other.state), { ok: false, reason: "signature_invalid" });
  });
}

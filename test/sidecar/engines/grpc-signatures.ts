// Signed gRPC that was tampered with on its way: the app never sees it.
import { once } from "node:events";
import { type ClientDuplexStream, status } from "@grpc/grpc-js";
import { systemClock } from "../../../core/clock.ts";
import { createMessageCertificates } from "../../../sidecar/signing/message-certificates.ts";
import { createSigner } from "../../../sidecar/signing/signer.ts";
import { randomBytes } from "node:crypto";
import { channelBindingOf } from "../../../sidecar/transport/mesh-dial.ts";
import type { EngineName } from "../../../sidecar/engine.ts";
import { grpcStatusOf, grpcTests, meshSession, statusOf, unary } from "../../support/grpc-fixture.ts";

/** Calls under way at a time, and how many each caller makes. */
const CALLERS = 8;
const CALLS_EACH = 60;

/** Registers the tests for one engine. */
export function grpcSignatures(engine: EngineName): void {
  const test = grpcTests(engine);

  test("a request that was changed after it was signed, or replayed, is UNAUTHENTICATED; the app never sees it", async (t, mesh) => {
    // The port's protocol is not declared: what is gRPC must be seen from the request alone.
    const { app, pair } = await mesh.echo({ protocol: "detect" });
    const { session, socket } = await meshSession(t, pair, app.port);
    const other = await meshSession(t, pair, app.port);
    const credentials = pair.caller.current();
    const certificates = createMessageCertificates({
      trust: { trustDomain: "cluster.local", roots: () => credentials.roots },
      clock: systemClock,
    });
    const signer = createSigner({
      identity: pair.caller.identity,
      credentials: () => credentials,
      mode: "hmac",
      clock: systemClock,
      randomBytes,
    });
    const body = Buffer.concat([Buffer.from([0, 0, 0, 0, 5]), Buffer.from("hello")]);

    function signed(): { head: string[]; fields: string[] } {
      const request = { method: "POST", authority: "orders", path: "/test.Echo/Unary", contentType: "application/grpc" };
      const fields = signer.sign({
        ...request,
        dst: pair.callee.identity,
        dstMessageCertificateKey: certificates.ofDer(pair.callee.current().messageCertificate, pair.callee.identity),
        channelBinding: channelBindingOf(socket),
        body,
        includeCertificate: true,
      });
      return {
        head: [
          ":method",
          "POST",
          ":scheme",
          "http",
          ":authority",
          "orders",
          ":path",
          request.path,
          "content-type",
          request.contentType,
          "te",
          "trailers",
        ],
        fields,
      };
    }
    function change(list: string[], name: string, value: string): string[] {
      const changed = [...list];
      changed[changed.indexOf(name) + 1] = value;
      return changed;
    }

    const good = signed();
    t.equal(await grpcStatusOf(session, [...good.head, ...good.fields], body), "0", "as signed it passes");
    t.equal(app.calls.length, 1);
    t.equal(await grpcStatusOf(session, [...good.head, ...good.fields], body), "16", "replayed");

    const cases: ReadonlyArray<readonly [string, (of: ReturnType<typeof signed>) => string[], Buffer?]> = [
      ["method", ({ head, fields }) => [...change(head, ":method", "PUT"), ...fields]],
      ["path", ({ head, fields }) => [...change(head, ":path", "/test.Echo/Delete"), ...fields]],
      ["authority", ({ head, fields }) => [...change(head, ":authority", "payments"), ...fields]],
      ["content-type", ({ head, fields }) => [...change(head, "content-type", "application/grpc+json"), ...fields]],
      ["body", ({ head, fields }) => [...head, ...fields], Buffer.concat([Buffer.from([0, 0, 0, 0, 5]), Buffer.from("jello")])],
      ["body cut", ({ head, fields }) => [...head, ...fields], body.subarray(0, 9)],
      ["signature", ({ head, fields }) => [...head, ...change(fields, "signature", `remora=:${Buffer.alloc(32).toString("base64")}:`)]],
      ["source", ({ head, fields }) => [...head, ...change(fields, "x-remora-src", "spiffe://cluster.local/ns/demo/sa/admin")]],
      ["channel binding", ({ head, fields }) => [...head, ...change(fields, "x-remora-cb", Buffer.alloc(32).toString("base64url"))]],
      ["signature left out", ({ head }) => head],
      ["left out, content-type in capitals", ({ head }) => change(head, "content-type", "Application/GRPC")],
    ];
    for (const [name, request, changedBody] of cases) {
      t.equal(await grpcStatusOf(session, request(signed()), changedBody ?? body), "16", name);
    }
    const elsewhere = signed();
    t.equal(await grpcStatusOf(other.session, [...elsewhere.head, ...elsewhere.fields], body), "16", "on another connection");
    t.equal(app.calls.length, 1, "the app saw the good one only");
    const metrics = await pair.calleeMetrics.registry.metrics();
    t.match(metrics, /remora_refused_total\{direction="inbound",reason="signature_replayed"\} 1/);
    t.match(metrics, /remora_refused_total\{direction="inbound",reason="signature_missing"\} 2/);
  });

  for (const mode of ["hmac", "sign"] as const) {
    test(`signing ${mode}: keys and certificates of both sides are renewed while calls fly, and none fails`, async (t, mesh) => {
      const { app, pair, client } = await mesh.echo({ signing: mode, verify: mode });
      const chat = (client as unknown as { Chat(): ClientDuplexStream<Buffer, Buffer> }).Chat();
      const said = async (word: string) => {
        chat.write(Buffer.from(word));
        return String((await once(chat, "data"))[0]);
      };
      t.equal(await said("before"), "before");
      const failures: string[] = [];
      let done = 0;
      const callers = Array.from({ length: CALLERS }, async () => {
        for (let call = 0; call < CALLS_EACH; call += 1) {
          const { error } = await unary(client, Buffer.alloc(100, call));
          if (error !== null) failures.push(error.message);
          done += 1;
          // The registry of the pair keeps the callee's first certificate: its key is the previous one from here on.
          if (done === (CALLERS * CALLS_EACH) / 3) pair.renew();
        }
      });
      await Promise.all(callers);
      t.equal(await said("after"), "after", "a stream goes on");
      chat.end();
      t.equal((await statusOf(chat)).code, status.OK);
      t.strictSame(failures, []);
      t.equal(app.calls.length, CALLERS * CALLS_EACH + 1);
      t.notMatch(await pair.calleeMetrics.registry.metrics(), /remora_refused_total\{[^}]*\} [1-9]/);
    });
  }
}

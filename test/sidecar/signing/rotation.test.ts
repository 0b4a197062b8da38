// Message keys are renewed on both sides while requests are on their way: none may fail (design 9).
import t from "tap";
import { createSeededRandom } from "../../support/seeded-random.ts";
import { createThrowawayCa } from "../../support/throwaway-ca.ts";
import { type Connection, createSigningPair, verdict, type Wire } from "./signing-pair.ts";

for (const mode of ["hmac", "sign"] as const) {
  t.test(`${mode}: no request fails while keys are renewed on both sides`, async (t) => {
    const random = createSeededRandom(3);
    const pair = createSigningPair({ mode, required: mode });
    const connections = [pair.connect(), pair.connect(), pair.connect()];
    /** Which key each connection has been told of, as the outbound side remembers it. */
    const told = new Map<Connection, string>();
    /** Signed, not yet verified: what is in flight. A connection keeps its order. */
    const flying = new Map<Connection, Wire[]>(connections.map((connection) => [connection, []]));
    /** The registry tells the caller of the callee's new certificate only after a while. */
    let announced = pair.callee.current().messageCertificate;
    const verdicts = new Map<string, number>();
    let renewals = 0;

    function send(connection: Connection): void {
      const wire = pair.request(connection, {
        dstMessageCertificateKey: pair.certificates.ofDer(announced, pair.callee.identity),
        includeCertificate: told.get(connection) !== pair.signer.keyId(),
      });
      told.set(connection, pair.signer.keyId());
      flying.get(connection)?.push(wire);
    }
    function arrive(connection: Connection): void {
      const wire = flying.get(connection)?.shift();
      if (wire === undefined) return;
      const said = verdict(pair.verify(connection, wire));
      verdicts.set(said, (verdicts.get(said) ?? 0) + 1);
    }

    for (let round = 0; round < 4_000; round += 1) {
      const connection = random.pick(connections);
      if (random.below(2) === 0) send(connection);
      else arrive(connection);
      if (round % 100 === 50) {
        renewals += 1;
        pair.caller.renew();
      }
      if (round % 200 === 0) {
        // A renewal comes hours after the one before: by then nothing that was signed for the key before it is in flight.
        for (const each of connections) while ((flying.get(each)?.length ?? 0) > 0) arrive(each);
        announced = pair.callee.current().messageCertificate;
        for (const each of connections) send(each);
        renewals += 1;
        pair.callee.renew();
      }
      if (round % 200 === 120) announced = pair.callee.current().messageCertificate;
    }
    for (const each of connections) while ((flying.get(each)?.length ?? 0) > 0) arrive(each);
    t.comment(`${verdicts.get("accepted digest")} requests, ${renewals} renewals`);
    t.strictSame([...verdicts.keys()], ["accepted digest"]);
  });

  t.test(`${mode}: nor while a root is added, certificates are issued anew, and the old root is removed`, async (t) => {
    const pair = createSigningPair({ mode, required: mode });
    const connection = pair.connect();
    const [root] = pair.callee.current().roots;
    const other = createThrowawayCa().root;
    const outcomes: string[] = [];
    const call = (includeCertificate: boolean) =>
      outcomes.push(verdict(pair.verify(connection, pair.request(connection, { includeCertificate }))));
    call(true);
    call(false);
    pair.trustRoots([root!, other]);
    call(false);
    pair.caller.renew();
    call(true);
    pair.callee.renew();
    call(false);
    pair.trustRoots([root!]);
    call(false);
    t.strictSame(
      outcomes,
      Array.from({ length: 6 }, () => "accepted digest"),
    );
  });
}

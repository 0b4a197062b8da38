// What a connection keeps of the heads it wrote: nothing of the buffers that outboxes lend each other, of which thousands of connections at rest would each keep one.
import t from "tap";
import { FlatFields, NO_EDIT } from "../../../sidecar/fields.ts";
import { HeadWriter } from "../../../sidecar/http2/head-writer.ts";
import { HpackEncoder } from "../../../sidecar/http2/hpack/encoder.ts";
import { keepManySmallBuffers, Outbox } from "../../../sidecar/http2/outbox.ts";
import type { SocketWire } from "../../../sidecar/transport/wire.ts";
import { collectGarbage } from "../../support/collect-garbage.ts";

/** More than one frame takes. */
const LONG = "x".repeat(20_000);

// None is kept for the next turns either.
keepManySmallBuffers({ bytes: 32 * 1024, count: 0 });

for (const [what, value] of [
  ["a head of one frame", "short"],
  ["a head of several", LONG],
] as const) {
  t.test(`${what} leaves no buffer with its writer`, async (t) => {
    const written: number[] = [];
    const wire = {
      isWritable: true,
      isDirect: true,
      takesAtOnce: true,
      write(bytes: Buffer, done?: () => void) {
        written.push(bytes.length);
        done?.();
      },
    };
    const outbox = new Outbox(wire as unknown as SocketWire, { size: 0 }, () => {}); // all that an outbox asks of it here
    const heads = new HeadWriter(new HpackEncoder(), outbox);
    const lent = new WeakRef(outbox.room(1).buffer);
    const fields = new FlatFields(["x-some", value]);
    heads.begin(fields, NO_EDIT, 0);
    heads.fields(fields, NO_EDIT, 0);
    heads.end(1, true);
    outbox.flush();
    t.equal(written.length, 1);
    await collectGarbage();
    t.equal(lent.deref(), undefined);
    t.equal(heads instanceof HeadWriter && outbox.length, 0, "both are there still");
  });
}

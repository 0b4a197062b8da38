// gRPC by real peers, through both hops: all four kinds of call, errors, cancellation, refusals, draining.
import { once } from "node:events";
import {
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientWritableStream,
  Metadata,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import type { EngineName } from "../../../sidecar/engine.ts";
import { grpcTests, statusOf, unary } from "../../support/grpc-fixture.ts";

/** Registers the tests for one engine. */
export function grpcCalls(engine: EngineName): void {
  const test = grpcTests(engine);

  for (const mode of ["hmac", "sign", "mtls"] as const) {
    test(`signing ${mode}: all four kinds of call, trailers and binary metadata pass both hops`, async (t, mesh) => {
      const { app, client } = await mesh.echo({ signing: mode, verify: mode });
      const calls = client as unknown as Record<string, (...args: unknown[]) => unknown>;
      const metadata = new Metadata();
      metadata.set("tag-bin", Buffer.from([0, 1, 2, 255]));
      const answer = await unary(client, Buffer.from("hello"), metadata);
      t.equal(answer.error, null);
      t.equal(String(answer.value), "hello");
      t.same(answer.trailers.get("seen-bin")[0], Buffer.from([255, 2, 1, 0]));
      const [seen] = app.calls;
      t.same(seen?.get("x-remora-client-id"), ["spiffe://cluster.local/ns/demo/sa/web"]);
      t.same(seen?.get("signature"), [], "the mesh's own fields end at the sidecar");

      const collected = await new Promise<Buffer>((resolve, reject) => {
        const call = calls["Collect"]?.call(client, (error: ServiceError | null, value: Buffer) =>
          error === null ? resolve(value) : reject(error),
        ) as ClientWritableStream<Buffer>;
        for (let index = 0; index < 50; index++) call.write(Buffer.from(`${index};`));
        call.end();
      });
      t.equal(String(collected).split(";").length, 51);

      const times = new Metadata();
      times.set("times", "1000");
      const repeated = calls["Repeat"]?.call(client, Buffer.alloc(1000, 1), times) as ClientReadableStream<Buffer>;
      let count = 0;
      for await (const _message of repeated) count += 1;
      t.equal(count, 1000);

      const chat = calls["Chat"]?.call(client) as ClientDuplexStream<Buffer, Buffer>;
      for (const word of ["one", "two", "three"]) {
        chat.write(Buffer.from(word));
        t.equal(String((await once(chat, "data"))[0]), word, "each message is answered before the next is sent");
      }
      chat.end();
      const end = await statusOf(chat);
      t.equal(end.code, status.OK);
    });
  }

  test("errors of the app keep code, message and trailers; large messages and many streams pass", async (t, mesh) => {
    const { client } = await mesh.echo();
    const metadata = new Metadata();
    metadata.set("tag-bin", Buffer.from("ab"));
    metadata.set("fail", "yes");
    const failed = await unary(client, Buffer.from("x"), metadata);
    t.equal(failed.error?.code, status.FAILED_PRECONDITION);
    t.equal(failed.error?.details, "told to fail: yes");
    t.same(failed.error?.metadata.get("seen-bin")[0], Buffer.from("ba"));
    const large = Buffer.alloc(16 * 1024 * 1024, 3);
    t.equal((await unary(client, large, new Metadata(), 20_000)).value?.length, large.length);
    const answers = await Promise.all(
      Array.from({ length: 500 }, (_, index) => unary(client, Buffer.from(String(index)), new Metadata(), 20_000)),
    );
    t.ok(answers.every(({ value }, index) => String(value) === String(index)));
  });

  test("cancellation reaches the app, a deadline is kept", async (t, mesh) => {
    const { client } = await mesh.echo();
    const calls = client as unknown as Record<string, (...args: unknown[]) => unknown>;
    const times = new Metadata();
    times.set("times", "1000000");
    const endless = calls["Repeat"]?.call(client, Buffer.alloc(1000), times) as ClientReadableStream<Buffer>;
    endless.on("error", () => {});
    await once(endless, "data");
    endless.cancel();
    const end = await statusOf(endless);
    t.equal(end.code, status.CANCELLED);
    const waiting = calls["Chat"]?.call(client, new Metadata(), { deadline: Date.now() + 200 }) as ClientDuplexStream<Buffer, Buffer>;
    waiting.on("error", () => {});
    const late = await statusOf(waiting);
    t.equal(late.code, status.DEADLINE_EXCEEDED);
  });

  test("local refusals are well-formed gRPC answers with the right code", async (t, mesh) => {
    const limited = await mesh.echo({ rateLimit: "1/m" });
    t.equal((await unary(limited.client, Buffer.from("1"))).error, null);
    const refused = await unary(limited.client, Buffer.from("2"));
    t.equal(refused.error?.code, status.RESOURCE_EXHAUSTED);
    t.same(refused.error?.metadata.get("x-remora-reason"), ["rate_limited"]);
    t.equal((await unary((await mesh.echo({ allow: "demo/other" })).client, Buffer.from("1"))).error?.code, status.PERMISSION_DENIED);
    const unsigned = await mesh.echo({ signing: "mtls", verify: "hmac" });
    t.equal((await unary(unsigned.client, Buffer.from("1"))).error?.code, status.UNAUTHENTICATED);
    const weak = await mesh.echo({ signing: "hmac", verify: "sign" });
    t.equal((await unary(weak.client, Buffer.from("1"))).error?.code, status.UNAUTHENTICATED);
    t.same([...unsigned.app.calls, ...weak.app.calls], [], "the app saw neither");
    const dead = await mesh.echo();
    dead.app.close();
    t.equal((await unary(dead.client, Buffer.from("1"))).error?.code, status.UNAVAILABLE);
  });

  test("draining sends GOAWAY and lets calls in flight finish", async (t, mesh) => {
    const { client, pair } = await mesh.echo();
    const calls = client as unknown as Record<string, (...args: unknown[]) => unknown>;
    const chat = calls["Chat"]?.call(client) as ClientDuplexStream<Buffer, Buffer>;
    chat.write(Buffer.from("a"));
    await once(chat, "data");
    pair.drain("inbound");
    pair.drain("outbound");
    chat.write(Buffer.from("b"));
    t.equal(String((await once(chat, "data"))[0]), "b");
    chat.end();
    const end = await statusOf(chat);
    t.equal(end.code, status.OK);
    t.equal((await unary(client, Buffer.from("next"))).error, null, "a new connection takes the next call");
  });
}

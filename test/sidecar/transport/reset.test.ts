import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import t from "tap";
import { resetStream } from "../../../sidecar/transport/reset.ts";

type Tap = { teardown(run: () => void): void };

async function pair(t: Tap): Promise<{ near: Socket; far: Socket }> {
  const server = createServer({ allowHalfOpen: true }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const near = connect({ port: (server.address() as AddressInfo).port, host: "127.0.0.1", allowHalfOpen: true });
  const [far] = (await once(server, "connection")) as [Socket];
  far.on("error", () => {});
  near.on("error", () => {});
  t.teardown(() => {
    near.destroy();
    far.destroy();
    server.close();
  });
  return { near, far };
}

const closed = (socket: Socket) => new Promise<boolean>((resolve) => socket.once("close", () => resolve(true)));

t.test("a stream is reset: the peer learns that it was cut off", async (t) => {
  const { near, far } = await pair(t);
  const failed = once(far, "error");
  far.resume();
  resetStream(near);
  resetStream(near);
  // `once` rejects nothing here: the event it waits for is the error itself.
  const [error] = await failed;
  t.equal((error as NodeJS.ErrnoException).code, "ECONNRESET");
});

t.test("a stream that was just told to end is closed all the same, and its handle with it", async (t) => {
  const { near, far } = await pair(t);
  far.pause();
  const handles = () => process.getActiveResourcesInfo().filter((kind) => kind === "TCPSocketWrap").length;
  const before = handles();
  near.end("x");
  await Promise.resolve();
  await new Promise((resolve) => process.nextTick(resolve));
  const isClosed = closed(near);
  resetStream(near);
  t.equal(await Promise.race([isClosed, new Promise((resolve) => setTimeout(resolve, 1000, false))]), true);
  t.equal(handles(), before - 1);
});

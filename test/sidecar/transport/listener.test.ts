import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import t from "tap";
import { type ListenerOptions, startListener } from "../../../sidecar/transport/listener.ts";
import { eventually } from "../../support/raw-peers.ts";

type Tap = { teardown(run: () => unknown): void };

async function listen(t: Tap, options: Partial<ListenerOptions>) {
  const accepted: Socket[] = [];
  const refused: ("max_connections" | Error)[] = [];
  const listener = await startListener({
    host: "127.0.0.1",
    port: 0,
    maxConnections: 100,
    accept: (socket) => {
      socket.on("error", () => {});
      accepted.push(socket);
    },
    refused: (why) => refused.push(why),
    ...options,
  });
  t.teardown(() => listener.close());
  return { listener, accepted, refused };
}

function dial(t: Tap, port: number): Socket {
  const socket = connect({ port, host: "127.0.0.1" });
  socket.on("error", () => {});
  socket.resume();
  t.teardown(() => socket.destroy());
  return socket;
}

t.test("connections beyond the bound are closed as they come, and told; a place that is given up is free again", async (t) => {
  const { listener, accepted, refused } = await listen(t, { maxConnections: 2 });
  const kept = [dial(t, listener.port), dial(t, listener.port)];
  t.ok(await eventually(() => accepted.length === 2));
  const third = dial(t, listener.port);
  await new Promise((resolve) => third.once("close", resolve));
  t.same(refused, ["max_connections"]);
  t.equal(listener.connections, 2);
  kept[0]?.destroy();
  accepted[0]?.destroy();
  t.ok(await eventually(() => listener.connections === 1));
  dial(t, listener.port);
  t.ok(await eventually(() => accepted.length === 3));
  t.equal(refused.length, 1);
});

t.test("a bound shared with others holds as well, and is given back", async (t) => {
  let inside = 0;
  const bound = {
    tryEnter: () => inside < 1 && ++inside > 0,
    leave: () => {
      inside -= 1;
    },
  };
  const { listener, accepted, refused } = await listen(t, { bound });
  dial(t, listener.port);
  t.ok(await eventually(() => accepted.length === 1));
  const second = dial(t, listener.port);
  await new Promise((resolve) => second.once("close", resolve));
  t.same(refused, ["max_connections"]);
  accepted[0]?.destroy();
  t.ok(await eventually(() => inside === 0));
});

t.test("a burst of connections is accepted whole", async (t) => {
  const { listener, accepted } = await listen(t, { maxConnections: 2000 });
  const sockets = Array.from({ length: 1500 }, () => dial(t, listener.port));
  t.ok(await eventually(() => accepted.length === sockets.length), `${accepted.length} of ${sockets.length}`);
});

t.test("a process that may open no more files goes on serving those it has", async (t) => {
  const child = spawn("sh", ["-c", `ulimit -n 64; exec "$0" "$1"`, process.execPath, join(import.meta.dirname, "listener-program.ts")], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const timer = setTimeout(() => child.kill("SIGKILL"), 15_000);
  t.teardown(() => {
    clearTimeout(timer);
    child.kill("SIGKILL");
  });
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  const port = Number(String(line));
  const first = connect({ port, host: "127.0.0.1" });
  t.teardown(() => first.destroy());
  await once(first, "connect");
  const others = Array.from({ length: 200 }, () => dial(t, port));
  t.ok(await eventually(() => others.some((socket) => socket.destroyed)), "some are turned away");
  first.write("still there?");
  const [echo] = (await once(first, "data", { signal: AbortSignal.timeout(5_000) })) as [Buffer];
  t.equal(String(echo), "still there?");
  t.equal(child.exitCode, null);
});

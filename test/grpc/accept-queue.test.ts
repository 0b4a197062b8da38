import { Socket } from "node:net";
import t from "tap";
import { createAcceptQueue } from "../../grpc/accept-queue.ts";

function start(options: { readonly perTurn?: number; readonly maxWaiting?: number }) {
  const begun: Socket[] = [];
  const runs: (() => void)[] = [];
  const queue = createAcceptQueue({ begin: (socket) => void begun.push(socket), nextTurn: (run) => void runs.push(run), ...options });
  const turn = () => {
    for (const run of runs.splice(0)) run();
  };
  return { begun, queue, turn };
}

t.test("so many are begun in a turn, the others in the next ones, in order", async (t) => {
  const { begun, queue, turn } = start({ perTurn: 2 });
  const sockets = Array.from({ length: 5 }, () => new Socket());
  for (const socket of sockets) queue.push(socket);
  t.same([begun.length, queue.waiting], [2, 3], "without a queue nobody waits");
  turn();
  t.same([begun.length, queue.waiting], [4, 1]);
  turn();
  t.equal(begun.length, 5);
  t.ok(begun.every((socket, index) => socket === sockets[index]));
  turn();
  turn();
  queue.push(new Socket());
  t.equal(begun.length, 6);
});

t.test("who has gone is not begun, and more than may wait are closed", async (t) => {
  const { begun, queue, turn } = start({ perTurn: 1, maxWaiting: 2 });
  const sockets = Array.from({ length: 4 }, () => new Socket());
  for (const socket of sockets) queue.push(socket);
  t.same(
    sockets.map(({ destroyed }) => destroyed),
    [false, false, false, true],
  );
  sockets[1]?.destroy();
  turn();
  turn();
  t.same(begun, [sockets[0], sockets[2]]);
});

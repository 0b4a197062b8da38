// The app behind the mesh, in a process of its own that may be killed at any time: does what each request orders, good or bad (messages.ts), and speaks an
// opaque protocol to connections that begin with a zero byte. `/control` is always answered well. Told to leave, it ends all but idle connections, which the
// mesh's pools have to end by themselves.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTcp, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { answerControl } from "./control-answer.ts";
import { firstOf } from "./first-of.ts";
import { contentOf, OPAQUE, OPAQUE_MARK, type Order, orderOf } from "./messages.ts";

/** Announced to the mesh, which closes first. */
const KEEP_ALIVE_MS = 4_000;
/** A connection is closed this long after an answer that orders it, if it is idle then. */
const AFTERWARDS_MS = 150;
/** Echoed before a tunnel is reset. */
const RESET_AFTER_BYTES = 5_000;
const PIECE_BYTES = 16 * 1024;
/** Nothing here lasts longer. */
const MAX_LIFE_MS = 20_000;

const open = new Set<Socket>();
/** Connections in the middle of a request, with the answer that is due. */
const busy = new Map<Socket, ServerResponse>();
/** Connections that have answered a request, and wait for the next while they are not busy. */
const kept = new WeakSet<Socket>();
/** From then on nothing new is begun: a request that was cut off may come again. */
let isLeaving = false;
const http = createServer({ keepAliveTimeout: KEEP_ALIVE_MS, connectionsCheckingInterval: 1_000 }, (request, response) => {
  const { socket } = request;
  busy.set(socket, response);
  response.once("close", () => {
    if (busy.get(socket) === response) busy.delete(socket);
  });
  response.once("finish", () => kept.add(socket));
  if (request.url?.startsWith("/control") === true) return void answerControl(request, response);
  obey(orderOf(request.url ?? "/"), request, response).catch(() => socket.destroy());
});
http.on("checkContinue", (request, response) => {
  if (orderOf(request.url ?? "/").how !== "early") response.writeContinue();
  http.emit("request", request, response);
});
http.on("upgrade", (request, socket: Socket, head) => {
  const mode = Number(new URL(request.url ?? "/", "http://app").searchParams.get("mode"));
  socket.on("error", ignore);
  if (mode < 0) return void socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
  socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: soak\r\n\r\n");
  socket.unshift(head);
  speak(socket, mode);
});
http.on("clientError", (_error, socket) => socket.destroy());

const server = createTcp({ allowHalfOpen: true, noDelay: true }, (socket) => {
  open.add(socket);
  socket.once("close", () => {
    open.delete(socket);
    busy.delete(socket);
  });
  socket.on("error", ignore);
  socket.setTimeout(MAX_LIFE_MS, () => socket.destroy());
  socket.once("data", (first: Buffer) => {
    socket.pause();
    if (first[0] !== OPAQUE_MARK) {
      socket.unshift(first);
      http.emit("connection", socket);
      socket.resume();
      return;
    }
    socket.unshift(first.subarray(2));
    speak(socket, first[1] ?? 0);
  });
});

/** Opaque bytes, or a tunnel. */
function speak(socket: Socket, mode: number): void {
  if (isLeaving) return void socket.resetAndDestroy();
  kept.delete(socket);
  if (mode === OPAQUE.neverRead) return void socket.pause();
  if (mode === OPAQUE.halfCloseFirst) {
    socket.end();
    return void socket.resume();
  }
  let echoed = 0;
  socket.on("data", (chunk: Buffer) => {
    echoed += chunk.length;
    if (mode === OPAQUE.echoThenReset && echoed > RESET_AFTER_BYTES) return void socket.resetAndDestroy();
    if (socket.write(chunk)) return;
    socket.pause();
    socket.once("drain", () => socket.resume());
  });
  socket.on("end", () => socket.end());
  socket.resume();
}

async function obey(order: Order, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { socket } = request;
  if (isLeaving) return void socket.resetAndDestroy();
  if (order.read === "none") request.pause();
  else if (order.how !== "early") await readAll(request, order.read === "slow" ? 5 : 0);
  if (order.how === "silent") return;
  if (order.how === "garbage") return void socket.write("HTTP/1.1 2OO nonsense\r\n\r\n", () => socket.end());
  for (let sent = 0; sent < order.interim; sent += 1) response.writeEarlyHints({ link: "</style.css>; rel=preload" });
  if (order.how === "length") response.setHeader("content-length", order.size);
  if (order.how === "until-close") response.useChunkedEncodingByDefault = false;
  await writeContent(order, response, socket);
  if (socket.destroyed) return;
  if (response.hasHeader("transfer-encoding")) response.addTrailers({ "x-sum": "1" });
  response.end(() => afterwards(order, socket));
}

async function readAll(request: IncomingMessage, paceMs: number): Promise<void> {
  for await (const _chunk of request) if (paceMs > 0) await sleep(paceMs);
}

async function writeContent(order: Order, response: ServerResponse, socket: Socket): Promise<void> {
  const content = contentOf(order.size, order.size);
  const end = order.cutAt === -1 ? content.length : Math.min(order.cutAt, content.length);
  for (let at = 0; at < end && !socket.destroyed; at += PIECE_BYTES) {
    const isThrough = response.write(content.subarray(at, Math.min(end, at + PIECE_BYTES)));
    if (!isThrough) await firstOf(response, ["drain", "close"], MAX_LIFE_MS);
    if (order.paceMs > 0) await sleep(order.paceMs);
  }
  if (order.cutAt === -1 || socket.destroyed) return;
  if (order.cutBy === "reset") socket.resetAndDestroy();
  else socket.destroySoon();
}

/** Closes a connection that is kept alive: when its next request may be on its way, but never while it is answered. */
function afterwards(order: Order, socket: Socket): void {
  if (order.after === "keep") return;
  setTimeout(() => {
    if (busy.has(socket) || socket.destroyed) return;
    if (order.after === "reset") socket.resetAndDestroy();
    else socket.end();
  }, AFTERWARDS_MS);
}

function ignore(): void {}

process.on("message", () => {
  isLeaving = true;
  for (const socket of open) if (busy.has(socket) || !kept.has(socket)) socket.resetAndDestroy();
});
process.on("disconnect", () => process.exit(0));
server.listen(Number(process.argv[2] ?? 0), "127.0.0.1", () => process.send?.(server.address()));

// Hostile and slow clients: a fixed number at a time, each with a random way in, random things to say, a random pace of writing and reading, and a random
// way to leave. They keep to nothing but their seed. What an echoing tunnel gives back is checked.
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { resetStream } from "../../sidecar/transport/reset.ts";
import { createSeededRandom, type SeededRandom } from "../support/seeded-random.ts";
import { dial, ROUTES, type Route } from "./dialling.ts";
import { firstOf } from "./first-of.ts";
import { contentOf, type MeshReady, OPAQUE, OPAQUE_MARK } from "./messages.ts";
import { randomRequests } from "./requests.ts";

/** The longest that a client stays after it has said everything. */
const MAX_PATIENCE_MS = 3_000;
/** How long one that waits for an answer does. */
const ANSWER_MS = 400;
/** Given to those who are there when it is time to leave. */
const FAREWELL_MS = 2_000;
/** How long one waits to be sent away: longer than every timeout of the mesh. */
const STUBBORN_MS = 6_000;

/** Running clients. */
export interface Clients {
  /** Connections made so far. */
  readonly connections: number;
  /** Tunnels whose bytes came back changed, lost in the middle, or from elsewhere: each a sentence. */
  readonly mixUps: readonly string[];
  /** No new connections; resolves when the last one has left. */
  leave(): Promise<void>;
}

/** Starts `count` clients. `service` is what requests are addressed to. */
export function startClients(options: {
  readonly mesh: MeshReady;
  readonly service: string;
  readonly count: number;
  readonly seed: number;
}): Clients {
  const mixUps: string[] = [];
  const open = new Set<Socket>();
  let connections = 0;
  let isLeaving = false;

  async function live(random: SeededRandom): Promise<void> {
    while (!isLeaving) {
      connections += 1;
      const route = random.pick(ROUTES);
      const socket = dial(route, options.mesh);
      open.add(socket);
      socket.once("close", () => open.delete(socket));
      await visit(random, socket, route, options.service, (mixUp) => mixUps.push(mixUp));
    }
  }
  const lives = Array.from({ length: options.count }, (_, index) => live(createSeededRandom(options.seed * 1_000 + index)));

  return {
    get connections() {
      return connections;
    },
    mixUps,
    async leave() {
      isLeaving = true;
      const late = setTimeout(() => {
        for (const socket of open) resetStream(socket);
      }, FAREWELL_MS);
      await Promise.all(lives);
      clearTimeout(late);
    },
  };
}

async function visit(random: SeededRandom, socket: Socket, route: Route, service: string, onMixUp: (mixUp: string) => void): Promise<void> {
  // Some leave while somebody works for them: at any moment of whatever follows.
  const sudden = random.below(3) === 0 ? setTimeout(leave, random.below(400), random, socket) : undefined;
  readAtSomePace(random, socket);
  await converse(random, socket, route, service, onMixUp);
  await stay(random, socket);
  clearTimeout(sudden);
  leave(random, socket);
  if (!socket.destroyed) await firstOf(socket, ["close"], STUBBORN_MS);
  socket.destroy();
}

async function converse(
  random: SeededRandom,
  socket: Socket,
  route: Route,
  service: string,
  onMixUp: (mixUp: string) => void,
): Promise<void> {
  const mode = random.below(2) === 0 ? OPAQUE.echo : random.below(4);
  const marks = Buffer.of(OPAQUE_MARK, mode);
  if (random.below(20) === 0) return; // says nothing at all
  if (route === "mesh-opaque") return tunnel(random, socket, { ask: null, marks, mode }, onMixUp);
  if (route === "connect")
    return tunnel(random, socket, { ask: `CONNECT ${service} HTTP/1.1\r\nHost: ${service}\r\n\r\n`, marks, mode }, onMixUp);
  if (random.below(6) === 0) {
    const upgrade = `GET /tunnel?mode=${random.below(8) === 0 ? -1 : mode} HTTP/1.1\r\nHost: ${service}\r\nConnection: upgrade\r\nUpgrade: soak\r\n\r\n`;
    return tunnel(random, socket, { ask: upgrade, marks: Buffer.alloc(0), mode }, onMixUp);
  }
  const isPatient = random.below(3) > 0;
  for (const request of randomRequests(random, service)) {
    await send(random, socket, request);
    if (socket.destroyed) return;
    if (isPatient) await firstOf(socket, ["data", "close"], ANSWER_MS);
  }
}

/** Asks for a tunnel, and compares what comes out of it with what went in. */
async function tunnel(
  random: SeededRandom,
  socket: Socket,
  how: { readonly ask: string | null; readonly marks: Buffer; readonly mode: number },
  onMixUp: (mixUp: string) => void,
): Promise<void> {
  const content = contentOf(random.below(256), random.below(random.below(4) === 0 ? 1_000_000 : 20_000));
  if (how.ask !== null) {
    socket.write(how.ask);
    const answer = await firstOf(socket, ["data", "end", "close"], STUBBORN_MS);
    if (answer?.event !== "data" || !/^HTTP\/1\.1 (101|200) /.test((answer.value as Buffer).toString("latin1"))) return;
  }
  let received = 0;
  socket.on("data", (chunk: Buffer) => {
    if (!chunk.equals(content.subarray(received, received + chunk.length)))
      onMixUp(`a tunnel gave back other bytes at ${received} of ${content.length}`);
    received += chunk.length;
  });
  socket.write(how.marks);
  await send(random, socket, content);
}

/** Sends everything at once, in pieces, byte by byte, or only a part of it. */
async function send(random: SeededRandom, socket: Socket, bytes: Buffer): Promise<void> {
  const manner = random.below(8);
  const end = manner === 0 ? random.below(bytes.length + 1) : bytes.length;
  const pieceBytes = manner < 5 ? Math.max(1, bytes.length) : manner === 5 ? 1 + random.below(40) : 1 + random.below(30_000);
  const waitMs = random.below(30);
  const giveUpMonoMs = performance.now() + MAX_PATIENCE_MS;
  for (let at = 0; at < end && !socket.destroyed && performance.now() < giveUpMonoMs; at += pieceBytes) {
    const isThrough = socket.write(bytes.subarray(at, Math.min(end, at + pieceBytes)));
    if (pieceBytes < end) await sleep(waitMs);
    if (!isThrough) await firstOf(socket, ["drain", "close"], MAX_PATIENCE_MS);
  }
}

function readAtSomePace(random: SeededRandom, socket: Socket): void {
  const kind = random.below(8);
  socket.on("data", ignore);
  if (kind === 0) socket.pause(); // takes nothing until it leaves
  if (kind === 0 || kind > 2) return;
  const timer = setInterval(() => (socket.isPaused() ? socket.resume() : socket.pause()), 20 + random.below(200));
  socket.once("close", () => clearInterval(timer));
}

/** Half-closes now and then, and stays until sent away, or for a while. */
async function stay(random: SeededRandom, socket: Socket): Promise<void> {
  if (socket.destroyed) return;
  const kind = random.below(6);
  if (kind === 0) socket.end();
  const patienceMs = kind < 2 ? STUBBORN_MS : kind < 4 ? random.below(MAX_PATIENCE_MS) : random.below(50);
  await firstOf(socket, ["end", "close"], patienceMs);
}

function leave(random: SeededRandom, socket: Socket): void {
  const kind = random.below(3);
  if (kind === 0) resetStream(socket);
  else if (kind === 1) socket.destroy();
  else socket.end();
  socket.resume(); // so that the other side's end is seen
}

function ignore(): void {}

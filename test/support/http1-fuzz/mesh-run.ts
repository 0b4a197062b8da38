// Runs cases through the real thing: a client's socket, both sidecars with mTLS between them, and an app's socket. What arrives at the app can't be told apart by
// its place here, so clients are looked at: each hears what its requests mean, by the answers' bytes and tokens, and nothing of anybody else's.
import { connect, type Socket } from "node:net";
import { classify } from "../../../sidecar/transport/detect.ts";
import { startMeshPair } from "../mesh-pair.ts";
import { startRawApp } from "../raw-peers.ts";
import { compare, type Measure } from "./compare.ts";
import { type AnswerScript, answerTo, type FuzzCase, tokensIn } from "./fuzz-case.ts";
import type { CaseRecord } from "./fuzz-world.ts";
import { readOneRequest, readRequests } from "./reference.ts";

type Tap = { teardown(run: () => unknown): void };

/** Hosts that lead to the app of a mesh run. */
export const MESH_HOSTS = ["orders", "orders", "orders:80", "Orders"] as const;

/** Longest time for a connection to hear what is due, ms. */
const PATIENCE_MS = 30_000;

const DEFAULT_ANSWER: AnswerScript = {
  pieces: ["HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ndefault"],
  at: "end",
  method: "GET",
  after: "keep",
};

function meshAnswerTo(
  fuzzCase: FuzzCase,
  request: { readonly method: string; readonly path: string; readonly content: string },
): AnswerScript {
  const script = answerTo(fuzzCase, request);
  if ([...fuzzCase.answers.values()].includes(script)) return script;
  return request.method === "HEAD" ? { ...DEFAULT_ANSWER, pieces: ["HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"] } : DEFAULT_ANSWER;
}

const MESH: Measure = {
  isStrict: true,
  seesInside: false,
  isFollowed: ({ authority, path, isHttp10 }) =>
    /^orders(:80)?$/i.test(authority) && tokensIn(path).length <= 1 && !(isHttp10 && authority === ""),
  answerTo: meshAnswerTo,
  passedOn: (request) => request,
};

/**
 * True for a case that can go through the mesh beside others: they share the connections between the sidecars, so that its app must not close them; and its first
 * bytes must look like HTTP to the protocol detection, which drops what does not.
 */
export function isForMesh({ sharesPool, pieces }: FuzzCase): boolean {
  return sharesPool && classify(Buffer.from(pieces.join(""), "latin1"))?.kind === "http1";
}

/** A mesh with an app that answers cases. */
export interface MeshRun {
  /** Runs the cases side by side; gives what differs, with the case. */
  run(cases: readonly FuzzCase[]): Promise<{ readonly fuzzCase: FuzzCase; readonly text: string; readonly heard: string }[]>;
}

/** Starts a pair of sidecars and an app. */
export async function startMeshRun(t: Tap): Promise<MeshRun> {
  const cases = new Map<number, FuzzCase>();
  const appPort = await startRawApp(t, (socket) => answerOn(socket, cases));
  const pair = await startMeshPair({ appPort, protocol: "http1", engine: "splice", egress: "deny" });
  t.teardown(() => pair.close());
  return {
    async run(batch) {
      cases.clear();
      for (const fuzzCase of batch) cases.set(fuzzCase.number, fuzzCase);
      const found = await Promise.all(batch.map((fuzzCase) => follow(fuzzCase, pair.outboundPort)));
      return found.flat();
    },
  };
}

/** The app: reads requests and answers by their tokens. */
function answerOn(socket: Socket, cases: ReadonlyMap<number, FuzzCase>): void {
  let text = "";
  let isEarly = false;
  socket.on("end", () => socket.end());
  socket.on("data", (chunk) => {
    text += chunk.toString("latin1");
    for (let request = readOneRequest(text); request !== null; request = readOneRequest(text)) {
      const { method, path, body, end } = request;
      const owner = tokensIn(path)[0]?.number ?? -1;
      const fuzzCase = cases.get(owner);
      const script = fuzzCase === undefined ? defaultFor(method) : meshAnswerTo(fuzzCase, { method, path, content: body.content });
      if (!isEarly && (body.isWhole || script.at === "head")) write(socket, script);
      isEarly = !body.isWhole && (isEarly || script.at === "head");
      if (!body.isWhole) return;
      text = text.slice(end);
    }
  });
}

function defaultFor(method: string): AnswerScript {
  return meshAnswerTo(
    { seed: 0, number: 0, origin: 0, pieces: [], answers: new Map(), exchanges: 0, sharesPool: true, leave: "end" },
    { method, path: "", content: "" },
  );
}

function write(socket: Socket, { pieces, after }: AnswerScript): void {
  for (const piece of pieces) if (socket.writable) socket.write(Buffer.from(piece, "latin1"));
  if (after === "end") socket.end();
  else if (after === "reset") socket.resetAndDestroy();
}

/** One client: writes its pieces, one after the other, and listens until all that is due has come. */
async function follow(
  fuzzCase: FuzzCase,
  port: number,
): Promise<{ readonly fuzzCase: FuzzCase; readonly text: string; readonly heard: string }[]> {
  const meant = readRequests(fuzzCase.pieces.join(""));
  const record: CaseRecord = { fuzzCase, heard: "", state: "open", arrived: new Map(), sent: "", refusals: [], begun: 0, finished: 0 };
  const socket = connect({ port, host: "127.0.0.1", noDelay: true, allowHalfOpen: true });
  const isDue = () => compare(fuzzCase, meant, record, MESH).length > 0;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, PATIENCE_MS);
    const look = () => {
      if (isDue()) return;
      clearTimeout(timer);
      resolve();
    };
    socket.on("data", (chunk) => {
      record.heard += chunk.toString("latin1");
      look();
    });
    socket.on("end", () => {
      if (record.state === "open") record.state = "ended";
      look();
    });
    socket.on("error", () => {
      record.state = "reset";
      look();
    });
    writeAll(socket, firstLineWhole(fuzzCase.pieces), look);
  });
  // What is still wrong is wrong; and what comes now was not due.
  const found = compare(fuzzCase, meant, record, MESH).map(({ text }) => ({ fuzzCase, text, heard: record.heard }));
  if (fuzzCase.leave === "reset") socket.resetAndDestroy();
  else socket.destroy();
  return found;
}

/** The protocol detection waits only so long for a first line, and on a busy machine that is too short for one in many pieces. */
function firstLineWhole(pieces: readonly string[]): string[] {
  let first = "";
  let count = 0;
  while (count < pieces.length && !first.includes("\n")) first += pieces[count++];
  return [first, ...pieces.slice(count)];
}

/** Each piece in a turn of its own, so that most of them are read one by one. */
function writeAll(socket: Socket, pieces: readonly string[], done: () => void): void {
  const [piece, ...rest] = pieces;
  if (piece === undefined || !socket.writable) return done();
  socket.write(Buffer.from(piece, "latin1"), () => setImmediate(() => writeAll(socket, rest, done)));
}

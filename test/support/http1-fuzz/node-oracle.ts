// The third reader: node:http's own parser, with no proxy around it. Reads what the client sent as a server, and what the app answered as a client.
import { createServer, type IncomingMessage, METHODS, request as requestBy } from "node:http";
import { MemorySocket } from "../memory-socket.ts";
import type { AnswerScript, FuzzCase } from "./fuzz-case.ts";
import { isReadByNode } from "./deviations.ts";
import type { Body } from "./reference-body.ts";
import type { Field } from "./reference-head.ts";
import { type ReferenceRequests, readAnswer } from "./reference.ts";

/** A message as node:http read it. */
interface NodeMessage {
  /** Method and target, or status. */
  readonly line: string;
  readonly fields: readonly string[];
  content: string;
  /** Not to be trusted before `isWhole`. */
  trailers: readonly string[];
  isWhole: boolean;
}

/** Reads cases by node:http. */
export interface NodeOracle {
  /** What differs between the two readings of the cases, with the case; what a row explains is no difference. */
  run(
    cases: readonly { readonly fuzzCase: FuzzCase; readonly meant: ReferenceRequests }[],
  ): Promise<{ readonly fuzzCase: FuzzCase; readonly text: string }[]>;
  close(): void;
}

const MAX_HEAD_BYTES = 128 * 1024;
const QUIET_TURNS = 4;

/** Makes the oracle. */
export function createNodeOracle(): NodeOracle {
  const readings = new WeakMap<object, NodeMessage[]>();
  let activity = 0;
  const move = () => {
    activity += 1;
  };
  const server = createServer({ maxHeaderSize: MAX_HEAD_BYTES, shouldUpgradeCallback: () => false }, (request, response) => {
    const messages = readings.get(request.socket);
    messages?.push(follow(request, `${request.method} ${request.url}`, move));
    request.once("end", () => response.end());
  });
  server.on("checkExpectation", (request, response) => server.emit("request", request, response));
  // What was read before the fault is to be looked at.
  server.on("clientError", () => {});
  server.maxHeadersCount = 0;

  async function settle(): Promise<void> {
    for (let quiet = 0; quiet < QUIET_TURNS; ) {
      const before = activity;
      await new Promise<void>((resolve) => setImmediate(resolve));
      quiet = activity === before ? quiet + 1 : 0;
    }
  }

  function readAsServer(fuzzCase: FuzzCase): { readonly messages: NodeMessage[]; readonly socket: MemorySocket } {
    const [socket, theirs] = MemorySocket.pair(move);
    const messages: NodeMessage[] = [];
    readings.set(theirs, messages);
    theirs.on("error", () => {});
    socket.on("error", () => {});
    socket.resume();
    server.emit("connection", theirs);
    for (const piece of fuzzCase.pieces) socket.write(Buffer.from(piece, "latin1"));
    return { messages, socket };
  }

  return {
    async run(cases) {
      const found: { fuzzCase: FuzzCase; text: string }[] = [];
      const asServer = cases.map(({ fuzzCase }) => readAsServer(fuzzCase));
      const asClient = cases.map(({ fuzzCase }) =>
        [...fuzzCase.answers.values()].filter(isWorthReading).map((script) => readAsClient(script, move)),
      );
      await settle();
      cases.forEach(({ fuzzCase, meant }, index) => {
        const text = differenceOfRequests(fuzzCase, meant, asServer[index]?.messages ?? []);
        if (text !== null) found.push({ fuzzCase, text });
        for (const { script, message } of asClient[index] ?? []) {
          const answerText = differenceOfAnswer(script, message.current);
          if (answerText !== null) found.push({ fuzzCase, text: answerText });
        }
      });
      for (const { socket } of asServer) socket.destroy();
      for (const each of asClient.flat()) each.socket.destroy();
      await settle();
      return found;
    },
    close: () => void server.close(),
  };
}

/** Answers that were meant for a method that node:http can ask by. */
function isWorthReading({ method, after }: AnswerScript): boolean {
  return METHODS.includes(method) && method !== "CONNECT" && after !== "reset";
}

function follow(message: IncomingMessage, line: string, move: () => void): NodeMessage {
  const read: NodeMessage = { line, fields: message.rawHeaders, content: "", trailers: [], isWhole: false };
  message.on("data", (chunk: Buffer) => {
    move();
    read.content += chunk.toString("latin1");
  });
  message.on("error", () => {});
  message.once("end", () => {
    move();
    read.isWhole = message.complete;
    read.trailers = message.rawTrailers;
  });
  return read;
}

function readAsClient(
  script: AnswerScript,
  move: () => void,
): { readonly script: AnswerScript; readonly message: { current: NodeMessage | null }; readonly socket: MemorySocket } {
  const [socket, theirs] = MemorySocket.pair(move);
  theirs.on("error", () => {});
  const message: { current: NodeMessage | null } = { current: null };
  socket.on("error", () => {});
  socket.resume();
  const asked = requestBy({ method: script.method, maxHeaderSize: MAX_HEAD_BYTES, createConnection: () => theirs });
  asked.maxHeadersCount = 0;
  asked.on("error", () => {});
  asked.on("response", (answer) => {
    message.current = follow(answer, String(answer.statusCode), move);
  });
  asked.end();
  for (const piece of script.pieces) socket.write(Buffer.from(piece, "latin1"));
  if (script.after === "end") socket.end();
  return { script, message, socket };
}

function differenceOfRequests(fuzzCase: FuzzCase, meant: ReferenceRequests, messages: readonly NodeMessage[]): string | null {
  if (!isReadByNode(fuzzCase.pieces.join(""), meant.requests)) return null;
  for (const [place, { method, target, fields, body }] of meant.requests.entries()) {
    if (!body.isWhole) return null;
    const text = differenceOfMessages(`${method} ${target}`, fields, body, messages[place] ?? null);
    if (text !== null) return `request ${place} by node:http: ${text}`;
  }
  return null;
}

function differenceOfAnswer(script: AnswerScript, message: NodeMessage | null): string | null {
  const bytes = script.pieces.join("");
  const { head, body, flaws, end } = readAnswer(bytes, script.method, script.after === "end");
  if (head === null || body?.isWhole !== true || flaws.size > 0 || end < bytes.length || !isReadByNode(bytes, [])) return null;
  const text = differenceOfMessages(String(head.status), head.fields, body, message);
  return text === null ? null : `answer by node:http: ${text}: ${JSON.stringify(bytes.slice(0, 500))}`;
}

function differenceOfMessages(line: string, fields: readonly Field[], body: Body, message: NodeMessage | null): string | null {
  if (message === null) return `${line} was not read`;
  if (message.line !== line) return `${line} became ${message.line}`;
  if (JSON.stringify(message.fields) !== JSON.stringify(fields.flat()))
    return `fields ${JSON.stringify(fields.flat())} became ${JSON.stringify(message.fields)}`;
  if (!message.isWhole) return `${line} was not read to its end`;
  if (message.content !== body.content)
    return `content ${JSON.stringify(body.content.slice(0, 300))} became ${JSON.stringify(message.content.slice(0, 300))}`;
  if (JSON.stringify(message.trailers) !== JSON.stringify(body.trailers.flat()))
    return `trailers became ${JSON.stringify(message.trailers)}`;
  return null;
}

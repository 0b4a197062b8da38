// Each row of the table that is about answers: an app gives those bytes, and neither the client of the inbound hop nor, for an app outside of the mesh, the
// client of the outbound hop sees any of them.
import t from "tap";
import { RESCUE } from "../../../sidecar/rescue.ts";
import { STRICTNESS, type StrictnessRule } from "../../../sidecar/http1/strictness.ts";
import { eachOf, listenTo } from "../../support/raw-exchange.ts";
import { startRawApp } from "../../support/raw-peers.ts";
import { ANSWER_RULES, ANSWER_VECTORS, type AnswerVector } from "./answer-vectors.ts";
import { type Hop, startHops } from "./strictness-hops.ts";

const { status: BAD_GATEWAY } = RESCUE.upstream_reset;

/** The vectors that apps are asked for, by the number in the path. */
const asked: AnswerVector[] = [];
const appPort = await startRawApp(t, (socket) => {
  let text = "";
  socket.on("end", () => socket.end());
  socket.on("data", (chunk) => {
    text += chunk.toString("latin1");
    const request = /^GET \/(\w+) [^]*?\r\n\r\n/.exec(text);
    if (request === null) return;
    text = text.slice(request[0].length);
    const vector = asked[Number(request[1])];
    if (vector === undefined) return void socket.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine");
    const bytes = Buffer.from(vector.bytes, "latin1");
    if (vector.outcome === "whole") socket.write(bytes);
    else socket.end(bytes);
  });
});
const { outbound, plaintext, mesh, takeRules } = await startHops(t, appPort);

/** A client's way to the answer, and the Host that it names. */
interface Route {
  readonly name: string;
  readonly hop: Hop;
  readonly host: string;
}
const routes: readonly Route[] = [
  { name: "both hops", hop: outbound, host: "orders" },
  { name: "the outbound hop alone", hop: outbound, host: `127.0.0.1:${appPort}` },
  { name: "the inbound hop in plaintext", hop: plaintext, host: "orders" },
  { name: "the inbound hop over mTLS", hop: mesh, host: "orders" },
];

/** Asks for the vector, and for a good answer after it where the connection lives on. */
async function ask(
  vector: AnswerVector,
  { hop, host }: Route,
): Promise<{ readonly first: string; readonly ended: boolean; readonly second: string }> {
  const stream = await hop.open();
  const client = listenTo(stream);
  stream.write(`GET /${asked.push(vector) - 1} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  const received = await client.until(vector.outcome === "whole" ? /\bok(\r\n0\r\n\r\n)?$/ : /closed the connection\n$/);
  const ended = stream.readableEnded || stream.destroyed;
  if (!ended) stream.write(`GET /good HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  const all = ended ? received : await client.until(/fine$/);
  stream.destroy();
  // Interim answers before the fault are fine.
  const first = received.replace(/^(HTTP\/1\.1 1\d\d [^\r]*\r\n([^\r]+\r\n)*\r\n)+/, "");
  return { first, ended, second: all.slice(received.length) };
}

/** Rows that are noticed when nobody's request is on the connection any more: no line in the log can be about one. */
const UNLOGGED: ReadonlySet<string> = new Set(["answer_not_asked"] satisfies StrictnessRule[]);

t.test("each row about answers has a vector", async (t) => {
  t.same(Object.keys(ANSWER_VECTORS).sort(), [...ANSWER_RULES].sort());
  for (const rule of ANSWER_RULES) t.ok((ANSWER_VECTORS[rule]?.length ?? 0) > 0, rule);
});

for (const rule of ANSWER_RULES) {
  t.test(`${rule}: ${STRICTNESS[rule].text}`, async (t) => {
    takeRules();
    const attempts = (ANSWER_VECTORS[rule] ?? []).flatMap((vector) => routes.map((route) => ({ vector, route })));
    await eachOf(attempts, 16, async ({ vector, route }) => {
      const { first, ended, second } = await ask(vector, route);
      const label = `${route.name}: ${JSON.stringify(vector.bytes.slice(0, 120))}`;
      if (vector.outcome === "whole") t.match(first, /^HTTP\/1\.1 200 [^]*\bok(\r\n0\r\n\r\n)?$/, label);
      else if (vector.outcome === "refused" || first.startsWith(`HTTP/1.1 ${BAD_GATEWAY} `))
        t.match(first, new RegExp(`^HTTP/1\\.1 ${BAD_GATEWAY} `), label);
      else t.ok(isCutOff(first) && ended, `${label}: visibly cut off: ${JSON.stringify(first)}`);
      t.notMatch(first, /BAD/, `${label}: none of the bytes`);
      t.match(second, ended ? /^$/ : /^HTTP\/1\.1 200 [^]*fine$/, `${label}: the next answer is its own`);
    });
    if (!UNLOGGED.has(rule)) t.ok(takeRules().has(rule), "the log names the row");
  });
}

t.test("what only a request may not have is passed on in an answer", async (t) => {
  const bytes = "HTTP/1.1 200 OK\r\nHost: a\r\nHost: b\r\nContent-Length: 2\r\n\r\nok";
  for (const route of routes) {
    const { first } = await ask({ bytes, outcome: "whole" }, route);
    t.match(first, /^HTTP\/1\.1 200 [^]*\bok$/, route.name);
  }
});

/** True for nothing at all, and for a 200 whose framing says that more should have come. */
function isCutOff(text: string): boolean {
  if (text === "") return true;
  const end = text.indexOf("\r\n\r\n");
  if (!text.startsWith("HTTP/1.1 200 ") || end === -1) return false;
  const length = /\r\ncontent-length: (\d+)/i.exec(text.slice(0, end))?.[1];
  if (length !== undefined) return text.length - end - 4 < Number(length);
  return /\r\ntransfer-encoding: chunked/i.test(text.slice(0, end)) && !/\r\n0\r\n([^\r\n]+\r\n)*\r\n$/.test(text);
}

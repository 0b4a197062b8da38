// What frames a body leaves in the one form that no two readers take differently, however it came: llhttp takes `chunked` with a tab behind it for another
// coding, and reads such an answer until the end of its connection.
import t from "tap";
import { createEngine } from "../../../sidecar/create-engine.ts";
import { createFakeClock } from "../../support/fake-clock.ts";
import type { FuzzCase } from "../../support/http1-fuzz/fuzz-case.ts";
import { tokenOf } from "../../support/http1-fuzz/fuzz-case.ts";
import { createFuzzWorld } from "../../support/http1-fuzz/fuzz-world.ts";

const CONTENT = { "Transfer-Encoding": "5\r\nhello\r\n0\r\n\r\n", "Content-Length": "hello" } as const;

const FORMS = [
  ...[" chunked\t", " \tchunked", "\tchunked", "  chunked", " chunked ", " CHUNKED"].map(
    (form) => ["Transfer-Encoding", form, "chunked"] as const,
  ),
  ...[" 5\t", "\t5", "  5", " 5 ", " 005"].map((form) => ["Content-Length", form, "5"] as const),
];

t.test("Transfer-Encoding and Content-Length, of requests and of answers", async (t) => {
  const clock = createFakeClock();
  const world = createFuzzWorld("splice", await createEngine("splice", clock), clock, true);
  t.teardown(() => world.close());
  for (const [name, form, plain] of FORMS) {
    const [record] = await world.run([caseOf(`${name}:${form}`, CONTENT[name])]);
    const leaves = new RegExp(`\\r\\n${name}: ${plain}\\r\\n`, "i");
    t.match(record?.sent, leaves, `request: ${JSON.stringify(form)}`);
    t.match(record?.heard, leaves, `answer: ${JSON.stringify(form)}`);
    for (const bytes of [record?.sent, record?.heard]) t.equal(bytes?.match(new RegExp(name, "gi"))?.length, 1, "once");
  }
  t.same(world.takeFaults(), []);
});

function caseOf(field: string, content: string): FuzzCase {
  const token = tokenOf(1, 0);
  const request = `POST /${token} HTTP/1.1\r\nHost: orders\r\n${field}\r\n\r\n${content}`;
  const answer = `HTTP/1.1 200 OK\r\n${field}\r\n\r\n${content}`;
  return {
    seed: 0,
    number: 1,
    origin: 1,
    pieces: [request],
    answers: new Map([[token, { pieces: [answer], at: "end", method: "POST", after: "keep" }]]),
    exchanges: 1,
    sharesPool: false,
    leave: "end",
  };
}

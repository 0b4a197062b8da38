// The reference reader, which the fuzz holds the engine against, knows each row of the table too: every vector of the strictness tests breaks its row in it.
import t from "tap";
import type { StrictnessRule } from "../../../sidecar/http1/strictness.ts";
import { readAnswer, readRequests } from "../../support/http1-fuzz/reference.ts";
import { ANSWER_VECTORS } from "./answer-vectors.ts";
import { REQUEST_VECTORS } from "./request-vectors.ts";

/** Rows that say what may follow an answer rather than what is in it. */
const BESIDE_THE_ANSWER: ReadonlySet<string> = new Set(["answer_not_asked", "answer_cut_off"] satisfies StrictnessRule[]);
const FOLLOWED = "GET /smuggled HTTP/1.1\r\nHost: orders\r\n\r\n";

t.test("requests", async (t) => {
  for (const [rule, vectors] of Object.entries(REQUEST_VECTORS) as [StrictnessRule, (typeof REQUEST_VECTORS)[StrictnessRule]][]) {
    const named = (vectors ?? []).filter(({ bytes, late }) => {
      const { requests, rest, flaws } = readRequests(bytes + FOLLOWED);
      const label = JSON.stringify(bytes.slice(0, 100));
      t.equal(rest, "flawed", `${rule}: ${label}`);
      t.equal(requests.length, late ? 1 : 0, `${rule}: ${label}: requests`);
      return flaws.has(rule);
    });
    t.ok(named.length > 0, `${rule} is named`);
  }
});

t.test("answers", async (t) => {
  for (const [rule, vectors] of Object.entries(ANSWER_VECTORS) as [StrictnessRule, (typeof ANSWER_VECTORS)[StrictnessRule]][]) {
    const named = (vectors ?? []).filter(({ bytes, outcome }) => {
      const { head, body, flaws, end } = readAnswer(bytes, "GET", true);
      const label = `${rule}: ${JSON.stringify(bytes.slice(0, 100))}`;
      if (outcome === "whole") t.ok(body?.isWhole === true && end < bytes.length, label);
      else if (outcome === "cut") t.ok(head !== null && body?.isWhole !== true, label);
      else t.equal(head, null, label);
      return flaws.has(rule) || BESIDE_THE_ANSWER.has(rule);
    });
    t.ok(named.length > 0, `${rule} is named`);
  }
});

t.test("what is well-formed is read as it was meant", async (t) => {
  const text = `${"POST http://Orders/a?b HTTP/1.1\r\nhost: orders:80\r\nX:  \t y z \t\r\nTransfer-Encoding: Chunked\r\n\r\n"}5;a=b\r\nhello\r\n0\r\nX-Sum: \xe9\r\n\r\n${"GET /2 HTTP/1.0\r\n\r\n"}never read`;
  const { requests, rest } = readRequests(text);
  t.equal(rest, "closed");
  t.match(requests, [
    {
      method: "POST",
      authority: "Orders",
      path: "/a?b",
      fields: [
        ["host", "orders:80"],
        ["X", "y z"],
        ["Transfer-Encoding", "Chunked"],
      ],
    },
    { method: "GET", authority: "", path: "/2", isHttp10: true, keepsAlive: false },
  ]);
  t.match(requests[0]?.body, { content: "hello", isWhole: true, trailers: [["X-Sum", "\xe9"]] });
  t.match(readAnswer("HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200\r\nContent-Length: 2\r\n\r\nokmore", "GET", false), {
    interim: [103],
    head: { status: 200, framing: "length" },
    body: { content: "ok", isWhole: true },
  });
});

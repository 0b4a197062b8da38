// A short run of the differential fuzz (`npm run fuzz` is the long one): the splice engine, the compat engine and node:http read the same bytes, and what
// differs is explained by a row of the table. And the fuzz itself: it sees what it is there to see.
import t from "tap";
import { compare, STRICT } from "../../support/http1-fuzz/compare.ts";
import { cutEverywhere } from "../../support/http1-fuzz/cut-everywhere.ts";
import { createDifferential, describeFailure } from "../../support/http1-fuzz/differential.ts";
import { answerTo, type FuzzCase, renumbered, tokenOf, tokensIn } from "../../support/http1-fuzz/fuzz-case.ts";
import type { CaseRecord } from "../../support/http1-fuzz/fuzz-world.ts";
import { generateCase } from "../../support/http1-fuzz/generate.ts";
import { readOneRequest, readRequests } from "../../support/http1-fuzz/reference.ts";

const SEED = 20_261_121;
const BATCH = 50;
const BATCHES = 12;
/** Cases of long runs that found something. */
const FOUND = [
  { seed: SEED, number: 221_579 }, // an early answer, after which compat ended the rest of a body as if it were the whole
  { seed: 20_261_122, number: 294_694 }, // HTTP/1.0 that asks for `keep-alive` and for `close`: node:http keeps it
];
/** Fewer would be no run at all. */
const LEAST_EXCHANGES = 300;

t.test("no engine differs from another but by a row of the table", async (t) => {
  const differential = await createDifferential();
  t.teardown(() => differential.close());
  const { tally } = differential;
  let number = 0;
  await differential.run(FOUND.map(({ seed, number }) => generateCase(seed, number)));
  await differential.run(cutEverywhere(generateCase(SEED, number++)).slice(0, 300), { alone: true });
  for (let batch = 0; batch < BATCHES && tally.failures.length === 0; batch += 1) {
    await differential.run(Array.from({ length: BATCH }, () => generateCase(SEED, number++)));
  }
  t.same(tally.failures.map(describeFailure), []);
  t.ok(tally.compared >= LEAST_EXCHANGES, `${tally.exchanges} exchanges, ${tally.compared} of them by all three`);
  t.ok(tally.refused.size > 10, `${tally.refused.size} rows were met`);
});

t.test("a case is the same each time, and another one with another number", async (t) => {
  t.same(generateCase(1, 5), generateCase(1, 5));
  t.notSame(generateCase(1, 5).pieces, generateCase(1, 6).pieces);
  t.notSame(generateCase(1, 5).pieces, generateCase(2, 5).pieces);
});

t.test("tokens tell whose they are, and a changed one is none", async (t) => {
  const token = tokenOf(77, 3);
  t.same(tokensIn(`a${token}b${token.slice(0, -1)}`), [{ token, number: 77 }]);
  t.same(tokensIn(token.replace("x3", "x4")), []);
  const moved = renumbered({ ...plainCase(77), pieces: [`GET /${token.slice(0, 5)}`, `${token.slice(5)} HTTP/1.1`] }, 78);
  t.same(tokensIn(moved.pieces.join("")), [{ token: tokenOf(78, 3), number: 78 }]);
});

t.test("each kind of difference is seen", async (t) => {
  const fuzzCase = plainCase(9);
  const sent = fuzzCase.pieces.join("");
  const meant = readRequests(sent);
  const differences = (change: Partial<CaseRecord>) =>
    compare(fuzzCase, meant, { ...rightRecord(fuzzCase), ...change }, STRICT).map(({ text }) => text);
  const { heard } = rightRecord(fuzzCase);
  t.same(differences({}), [], "none where all is right");
  t.match(differences({ heard: heard.replace("200", "201") }), [/status/]);
  t.match(differences({ heard: heard.replace(/Length: \d+/, "Length: 8") }), [/content|breaks|nothing was due/]);
  t.match(differences({ heard: heard.replace(/POST/, "PUT_") }), [/content/]);
  t.match(differences({ heard: `${heard}HTTP/1.1 200 OK\r\n\r\n` }), [/nothing was due/]);
  t.match(differences({ heard: heard.slice(0, -1) }), [/not whole/]);
  t.match(differences({ heard: heard + tokenOf(10, 0) }), [/another/, /nothing was due/]);
  t.match(differences({ sent: sent + tokenOf(10, 0) }), [/another/]);
  t.match(differences({ state: "ended" }), [/closed/]);
  t.match(differences({ arrived: new Map() }), [/did not arrive/]);
  for (const [from, to, what] of [
    ["POST", "PUT", /method/],
    ["/t/", "/u/", /target/],
    ["orders", "other", /host/],
    ["X-A: 1", "X-A: 2", /fields/],
    ["hello", "hallo", /content/],
  ] as const) {
    const changed = readOneRequest(rightRecord(fuzzCase).sent.replace(from, to));
    t.match(differences({ arrived: new Map(changed === null ? [] : [[0, changed]]) }), [what]);
  }
});

t.test("a refusal must name a row that is broken, with its status, and nothing may arrive", async (t) => {
  const fuzzCase = { ...plainCase(9), pieces: ["GET / HTTP/1.1\r\nHost: orders\r\nX : y\r\n\r\n"] };
  const meant = readRequests(fuzzCase.pieces.join(""));
  const refused: CaseRecord = {
    ...rightRecord(plainCase(9)),
    arrived: new Map(),
    heard: "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    state: "ended",
    refusals: ["rule: space_before_colon (…)"],
  };
  const differences = (change: Partial<CaseRecord>) => compare(fuzzCase, meant, { ...refused, ...change }, STRICT).map(({ text }) => text);
  t.same(differences({}), []);
  t.match(differences({ refusals: ["rule: obs_fold"] }), [/refused by rule: obs_fold/]);
  t.match(differences({ heard: refused.heard.replace("400", "431") }), [/answered with 431/]);
  t.match(differences({ state: "open" }), [/not refused/]);
  t.match(differences({ arrived: rightRecord(plainCase(9)).arrived }), [/arrived/]);
});

/** One request with a body, and the answer that tells what was understood of it. */
function plainCase(number: number): FuzzCase {
  const bytes = `POST /t/ HTTP/1.1\r\nHost: orders\r\nX-A: 1\r\nContent-Length: 5\r\n\r\nhello`;
  return { seed: 0, number, origin: number, pieces: [bytes], answers: new Map(), exchanges: 1, sharesPool: true, leave: "end" };
}

/** What an engine does with {@link plainCase} that is right. */
function rightRecord(fuzzCase: FuzzCase): CaseRecord {
  const sent = fuzzCase.pieces.join("").replace("X-A: 1", "X-A: 1\r\nx-request-id: fuzz");
  const arrived = readOneRequest(sent);
  const heard = answerTo(fuzzCase, { method: "POST", path: "/t/", content: "hello" }).pieces.join("");
  return {
    fuzzCase,
    heard,
    state: "open",
    arrived: new Map(arrived === null ? [] : [[0, arrived]]),
    sent,
    refusals: [],
    begun: 1,
    finished: 1,
  };
}

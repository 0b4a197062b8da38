// A short run of the HTTP/2 fuzz: what an exchange means is what app and client see of it, however its frames are cut, padded and interleaved; what is changed on
// its way is refused or harmless. `npm run fuzz:http2` is the long one.
import t from "tap";
import { compare } from "../../support/http2-fuzz/compare.ts";
import { cutEverywhere } from "../../support/http2-fuzz/cut-everywhere.ts";
import { createDifferential, describeFailure } from "../../support/http2-fuzz/differential.ts";
import type { CaseRecord } from "../../support/http2-fuzz/fuzz-world.ts";
import { generateCase } from "../../support/http2-fuzz/generate.ts";

const SEED = 20_261_121;
const BATCH = 50;
const BATCHES = 5;
/** Fewer would be no run at all. */
const LEAST_EXCHANGES = 300;
/** Of the cases that are cut at every position, every so-manieth cut. */
const CUT_SHARE = 5;

t.test("the splice engine does what each case means; where node:http2 differs, a row says why", async (t) => {
  const differential = await createDifferential();
  for (let number = 0; number < BATCHES * BATCH && differential.tally.failures.length === 0; number += BATCH) {
    await differential.run(Array.from({ length: BATCH }, (_, index) => generateCase(SEED, number + index)));
    const copies = cutEverywhere(SEED, number).filter((_, index) => index % CUT_SHARE === 0);
    await differential.run(copies, { alone: true });
  }
  await differential.close();
  const { exchanges, failures, mutated } = differential.tally;
  t.same(failures.map(describeFailure), []);
  t.ok(exchanges >= LEAST_EXCHANGES, `${exchanges} exchanges`);
  t.ok(mutated.size > 0, "some of them changed");
});

t.test("the comparison sees what it is for", async (t) => {
  const fuzzCase = Array.from({ length: 200 }, (_, number) => generateCase(1, number)).find(
    ({ mutation, exchanges: [first, ...others] }) =>
      mutation === null && others.length === 0 && first?.resetAfter === -1 && first.answer.resetAfter === -1 && first.answer.interims === 0,
  );
  const exchange = fuzzCase?.exchanges[0];
  if (fuzzCase === undefined || exchange === undefined) throw new Error("no such case");
  const { answer, id, token, method, path } = exchange;
  const flat = (fields: readonly (readonly [string, string])[] | null) => (fields === null ? [] : [fields.flat()]);
  const heard = {
    sections: [[":status", answer.status, ...answer.fields.flat()], ...flat(answer.trailers)],
    body: answer.body.join(""),
    isEnded: true,
    resetCode: -1,
  };
  const request = {
    sections: [[":method", method, ":path", path, ...exchange.fields.flat()], ...flat(exchange.trailers)],
    body: exchange.body.join(""),
    isEnded: true,
    resetCode: -1,
  };
  const right: CaseRecord = {
    fuzzCase,
    heard: new Map([[id, heard]]),
    failure: -1,
    isClosed: false,
    arrived: new Map([[token, [request]]]),
    refusals: [],
    begun: 1,
    finished: 1,
  };
  const differences = (change: Partial<CaseRecord>) => compare({ ...right, ...change }).map(({ text }) => text);
  const answered = (change: Partial<typeof heard>) => differences({ heard: new Map([[id, { ...heard, ...change }]]) });
  const arrived = (change: Partial<typeof request>) => differences({ arrived: new Map([[token, [{ ...request, ...change }]]]) });
  t.same(differences({}), []);
  t.match(differences({ failure: 1 }), [/failed with 1/]);
  t.match(differences({ arrived: new Map() }), [/nothing came/]);
  t.match(differences({ arrived: new Map([[token, [request, request]]]) }), [/came 2 times/]);
  t.match(answered({ body: `${heard.body}x` }), [/octets of content/]);
  t.match(answered({ isEnded: false }), [/no end/]);
  t.match(answered({ resetCode: 2 }), [/reset with 2/]);
  t.match(answered({ sections: [[":status", "299"]] }), [/status 299/]);
  t.match(arrived({ sections: [[":method", method, ":path", path, "f-new", "x"]] }), [/fields/]);
  const foreign = generateCase(1, fuzzCase.number + 1).exchanges[0]?.token ?? "";
  t.match(answered({ sections: [...heard.sections, ["f-trailer", foreign]] }), [/is in what came to the client/]);
});

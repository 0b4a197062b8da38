import t from "tap";
import { CertError, ConfigError, PolicyError } from "../../core/errors.ts";
import { isReason, REASONS } from "../../core/reasons.ts";

t.test("an error of a boundary carries its code, cause and fields, and the name of its class", async (t) => {
  const cause = new Error("deeper");
  const error = new CertError("expired", "too old", { cause, fields: { days: 3 } });
  t.match(error, { name: "CertError", code: "expired", message: "too old", fields: { days: 3 } });
  t.equal(error.cause, cause);
  t.ok(error instanceof Error);
  t.notOk("cause" in new ConfigError("invalid_value", "x"));
  t.same(new PolicyError("forbidden", "no").fields, {});
});

t.test("reasons are a closed vocabulary of lower case words, each explained in a sentence", async (t) => {
  for (const [code, sentence] of Object.entries(REASONS)) {
    t.match(code, /^[a-z]+(_[a-z]+)*$/);
    t.match(sentence, /^[A-Z].*\.$/);
    t.ok(isReason(code));
  }
  for (const code of ["", "constructor", "__proto__", "toString", "Forbidden"]) t.notOk(isReason(code));
});

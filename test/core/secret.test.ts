import { format, inspect } from "node:util";
import t from "tap";
import { Secret } from "../../core/secret.ts";

t.test("no way of printing shows the value", async (t) => {
  const secret = new Secret("hunter2");
  const shown = [
    String(secret),
    `${secret}`,
    JSON.stringify({ secret }),
    inspect({ secret }, { depth: 9, showHidden: true }),
    format("%s %o %O %j", secret, secret, secret, secret),
    JSON.stringify(Object.entries(secret)),
    JSON.stringify({ ...secret }),
  ];
  t.notMatch(shown.join("\n"), /hunter2/);
  t.equal(secret.reveal(), "hunter2");
});

t.test("only the same text is equal", async (t) => {
  const secret = new Secret("hunter2");
  t.ok(secret.equals("hunter2"));
  for (const other of ["", "hunter", "hunter22", "HUNTER2", "hunter2\0", "x".repeat(1e6)]) t.notOk(secret.equals(other));
});

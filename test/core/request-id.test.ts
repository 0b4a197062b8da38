import t from "tap";
import { newRequestId } from "../../core/request-id.ts";

t.test("each id is 32 hex digits, and no two are the same", async (t) => {
  const made = Array.from({ length: 10_000 }, newRequestId);
  t.equal(new Set(made).size, made.length);
  t.notOk(made.some((id) => !/^[0-9a-f]{32}$/.test(id)));
});

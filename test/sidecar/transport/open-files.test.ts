import { execFileSync } from "node:child_process";
import { platform } from "node:os";
import { join } from "node:path";
import t from "tap";
import { openFilesLimit, openFilesProblem } from "../../../sidecar/transport/open-files.ts";

t.test("the limit is the one that the process was started with", { skip: platform() !== "linux" && "only Linux tells" }, async (t) => {
  const file = join(import.meta.dirname, "..", "..", "..", "sidecar", "transport", "open-files.ts");
  const code = `import { openFilesLimit } from ${JSON.stringify(file)}; console.log(openFilesLimit());`;
  const words = ["-c", 'ulimit -n 123; exec "$0" --input-type=module -e "$1"', process.execPath, code];
  t.equal(execFileSync("sh", words, { encoding: "utf8", timeout: 10_000 }).trim(), "123");
});

t.test("what the system says is understood, and silence is not taken for a number", async (t) => {
  const table = (value: string) => () =>
    `Limit                     Soft Limit           Hard Limit           Units\nMax open files            ${value} files\n`;
  t.equal(openFilesLimit(table("1024                 4096                ")), 1024);
  t.equal(openFilesLimit(table("unlimited            unlimited           ")), Number.POSITIVE_INFINITY);
  t.equal(
    openFilesLimit(() => "something else"),
    null,
  );
  t.equal(
    openFilesLimit(() => {
      throw new Error("ENOENT");
    }),
    null,
  );
});

t.test("a limit below what the connections may need is told with both numbers and the way out", async (t) => {
  t.match(
    openFilesProblem(20_000, 20_000),
    /20000 connections need up to 40100 open files, the limit is 20000: beyond about 9950 .*REMORA_MAX_CONNECTIONS/,
  );
  t.equal(openFilesProblem(20_000, 40_100), null);
  t.equal(openFilesProblem(20_000, Number.POSITIVE_INFINITY), null);
  t.equal(openFilesProblem(20_000, null), null);
  t.match(openFilesProblem(10, 50), /beyond about 0 /);
});

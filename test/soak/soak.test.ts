// A soak of seconds: what ten minutes of it would find slowly, much of it shows at once.
import t from "tap";
import { startProcess } from "../support/processes.ts";

const MAIN = new URL("main.ts", import.meta.url).pathname;

t.test(
  "nothing is left of clients and an app that reset, half-close, stall and crash, and nobody else notices them",
  { timeout: 50_000 },
  async (t) => {
    const soak = startProcess(t, process.execPath, { args: [MAIN, "--minutes", "0.1", "--connections", "16", "--seed", "7"] });
    const code = await soak.exit(45_000);
    t.equal(code, 0, soak.lines.join("\n"));
    t.match(soak.lines.join("\n"), /\nnothing leaked/);
  },
);

t.test("an option that makes no sense is refused", async (t) => {
  const soak = startProcess(t, process.execPath, { args: [MAIN, "--minutes", "x"] });
  t.not(await soak.exit(), 0);
  t.match(soak.lines.join("\n"), /--minutes must be from 0.05 to 10000, not "x"/);
});

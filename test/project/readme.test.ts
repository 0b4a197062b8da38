import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { withGeneratedParts } from "../../bin/docs.ts";

const PROJECT = join(import.meta.dirname, "..", "..");
const readme = readFileSync(join(PROJECT, "README.md"), "utf8");
const manifest = JSON.parse(readFileSync(join(PROJECT, "package.json"), "utf8")) as {
  readonly scripts: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
};

t.test("the README's tables say what the code enforces (npm run docs writes them)", async (t) => {
  t.ok(withGeneratedParts(readme) === readme, "it is up to date");
});

t.test("its first two commands are the demo and the tests", async (t) => {
  const commands = readme.split("\n").filter((line) => line.startsWith("    "));
  t.match(commands[0], /^ {4}npm start -- --once /);
  t.match(commands[1], /^ {4}npm test /);
});

t.test("every dependency has its reason", async (t) => {
  for (const name of [...Object.keys(manifest.dependencies), ...Object.keys(manifest.devDependencies)]) {
    t.ok(readme.includes(`\`${name}\``) || (name.startsWith("@types/") && readme.includes("`@types/*`")), name);
  }
});

t.test("every link of ours leads somewhere", async (t) => {
  for (const [, target = ""] of readme.matchAll(/\]\(([^)#:]+)\)/g)) t.doesNotThrow(() => readFileSync(join(PROJECT, target)), target);
});

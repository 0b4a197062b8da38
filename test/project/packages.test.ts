import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";

const PROJECT = join(import.meta.dirname, "..", "..");
const read = (name: string) => readFileSync(join(PROJECT, name), "utf8");

interface LockedPackage {
  readonly version?: string;
  readonly integrity?: string;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

t.test("the lock file pins every package by content, and names no place to get it from", async (t) => {
  const lock = JSON.parse(read("package-lock.json")) as { readonly packages: Readonly<Record<string, LockedPackage>> };
  const { "": own, ...packages } = lock.packages;
  t.notMatch(JSON.stringify(lock), /"resolved"/);
  t.notMatch(JSON.stringify(own), /https?:/);
  for (const [path, { integrity }] of Object.entries(packages)) t.match(integrity, /^sha512-/, path);
});

t.test("it holds the packages of every platform, not only of the one it was made on", async (t) => {
  const lock = JSON.parse(read("package-lock.json")) as { readonly packages: Readonly<Record<string, LockedPackage>> };
  for (const name of ["@biomejs/biome", "esbuild", "koffi"]) {
    for (const [native, version] of Object.entries(lock.packages[`node_modules/${name}`]?.optionalDependencies ?? {})) {
      t.equal(lock.packages[`node_modules/${native}`]?.version, version, native);
    }
  }
});

t.test("nothing is fetched from an address", async (t) => {
  for (const name of ["package.json", "Dockerfile", ".npmrc"]) t.notMatch(read(name), /https?:\/\//, name);
});

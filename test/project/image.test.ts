import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { launcherSource, shellLauncher } from "../../bin/image/launcher.ts";
import { billOfMaterials } from "../../bin/image/sbom.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

/** A bundle of nothing but the launcher, and a `node` that says how it was called. */
function launched(t: Parameters<typeof temporaryFolder>[0], words: readonly string[], env: Readonly<Record<string, string>> = {}): string {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, "compile-cache"));
  writeFileSync(join(folder, "remora"), shellLauncher());
  writeFileSync(
    join(folder, "node"),
    '#!/bin/sh\necho "$@"\necho "arenas=$MALLOC_ARENA_MAX trim=$MALLOC_TRIM_THRESHOLD_ cache=$NODE_COMPILE_CACHE"\n',
  );
  for (const name of ["remora", "node"]) chmodSync(join(folder, name), 0o755);
  symlinkSync(join(folder, "remora"), join(folder, "link"));
  const printed = execFileSync(join(folder, "link"), [...words], { env: { PATH: `${folder}:/usr/bin:/bin`, ...env }, encoding: "utf8" });
  return printed.replaceAll(folder, "HOME");
}

const OPTIONS = "--disable-warning=DEP0060 --disable-warning=DEP0169";

t.test("a sidecar alone starts with its bounds, everything else without", async (t) => {
  t.equal(
    launched(t, ["sidecar"]),
    `--max-semi-space-size=2 --no-async-context-frame ${OPTIONS} HOME/sidecar.mjs sidecar\narenas=1 trim=131072 cache=HOME/compile-cache\n`,
  );
  t.match(launched(t, ["sidecar"], { MALLOC_ARENA_MAX: "4" }), "arenas=4 ", "what is set stays");
  t.equal(launched(t, ["sidecar", "--help"]), `${OPTIONS} HOME/remora.mjs sidecar --help\narenas= trim= cache=\n`);
  t.equal(launched(t, ["init", "a b"]), `${OPTIONS} HOME/remora.mjs init a b\narenas= trim= cache=\n`);
});

t.test("the image's launcher gives the same words", async (t) => {
  const source = launcherSource({ home: "/opt/remora", node: "/usr/local/bin/node" });
  const listed = (name: string) => JSON.parse(`[${new RegExp(`${name}\\[\\] = \\{(.*)\\};`).exec(source)?.[1]}]`) as readonly string[];
  const [shellSidecar = ""] = launched(t, ["sidecar"]).split("\n");
  t.equal(`${listed("sidecar").slice(1).join(" ")} sidecar`, shellSidecar.replace("HOME", "/opt/remora"));
  const [shellOther = ""] = launched(t, ["version"]).split("\n");
  t.equal(`${listed("others").slice(1).join(" ")} version`, shellOther.replace("HOME", "/opt/remora"));
  t.match(source, 'set("MALLOC_ARENA_MAX", "1");');
  t.match(source, 'set("MALLOC_TRIM_THRESHOLD_", "131072");');
});

t.test("the bill of materials names packages by purl, with licence and hash", async (t) => {
  const contents = {
    version: "1.2.3",
    commit: "c",
    builtAt: "2026-01-01T00:00:00Z",
    bundled: ["node_modules/pino", "node_modules/a/node_modules/@b/c"],
    lock: {
      "node_modules/pino": { version: "10.4.0", integrity: "sha512-AAEC", license: "MIT" },
      "node_modules/a/node_modules/@b/c": { version: "2.0.0" },
    },
    debian: [{ name: "libc6", version: "2.36-9+deb12u1", architecture: "amd64", stanza: "" }],
    distribution: "debian-12",
    node: { node: "26.10.0", openssl: "3.5.0", modules: "147", undici: undefined },
  };
  const bill = billOfMaterials(contents) as { readonly serialNumber: string };
  t.match(bill, {
    bomFormat: "CycloneDX",
    metadata: { component: { name: "remora", version: "1.2.3" } },
    components: [
      { purl: "pkg:npm/pino@10.4.0", licenses: [{ expression: "MIT" }], hashes: [{ alg: "SHA-512", content: "000102" }] },
      { purl: "pkg:npm/%40b/c@2.0.0", name: "@b/c" },
      { purl: "pkg:generic/node@26.10.0", components: [{ name: "openssl", version: "3.5.0" }] },
      { purl: "pkg:deb/debian/libc6@2.36-9%2Bdeb12u1?arch=amd64&distro=debian-12" },
    ],
  });
  t.match(bill.serialNumber, /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$/);
  t.equal((billOfMaterials(contents) as typeof bill).serialNumber, bill.serialNumber, "the same contents have the same number");
  t.throws(() => billOfMaterials({ ...contents, bundled: ["node_modules/unknown"] }), /not in package-lock\.json/);
});

// `npm run bundle`: puts the command and all it loads into dist/, as the image carries it: a few ES modules without development packages, the
// .proto files beside them, and koffi, whose native part cannot be bundled.
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { build, type Plugin } from "esbuild";
import { sourceInfo } from "../core/build-info.ts";

const PROJECT = join(import.meta.dirname, "..");
const TARGET = "node26";

/** Loaded by their name at run time, so copied as they are. */
const COPIED_PACKAGES = ["koffi"];

/** Found through symlinks, like bin/remora of a checkout. DEP0060 and DEP0169: http-proxy 1.18 calls util._extend and url.parse. */
const LAUNCHER =
  '#!/bin/sh\nexec node --disable-warning=DEP0060 --disable-warning=DEP0169 "$(dirname "$(readlink -f "$0")")/remora.mjs" "$@"\n';

/** What the bundle is made of and where it goes. */
export interface BundleOptions {
  readonly outDir: string;
  /** Commit to write into it; default: that of the checkout. */
  readonly commit?: string | undefined;
}

/** Makes the bundle; `outDir` is emptied first. */
export async function bundle({ outDir, commit }: BundleOptions): Promise<void> {
  await rm(outDir, { recursive: true, force: true });
  await mkdir(outDir, { recursive: true });
  const source = sourceInfo(PROJECT);
  const info = { ...source, commit: commit ?? source.commit, builtAt: new Date().toISOString() };
  await build({
    entryPoints: { remora: join(PROJECT, "cli", "main.ts") },
    outdir: outDir,
    bundle: true,
    splitting: true,
    platform: "node",
    format: "esm",
    target: TARGET,
    outExtension: { ".js": ".mjs" },
    chunkNames: "chunks/[name]-[hash]",
    minifySyntax: true,
    legalComments: "linked",
    sourcemap: false,
    logLevel: "warning",
    external: COPIED_PACKAGES,
    plugins: [namesOfLazyCommonJs],
    define: { __REMORA_BUILD__: JSON.stringify(info) },
    // CommonJS packages inside ES modules still call require for Node's own modules.
    banner: {
      js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url); const __filename = import.meta.filename, __dirname = import.meta.dirname;',
    },
  });
  await copyProtos(outDir);
  await copyPackages(outDir);
  await cp(join(PROJECT, "manifests", "base"), join(outDir, "manifests", "base"), { recursive: true }); // what `remora install` prints
  await writeFile(join(outDir, "remora"), LAUNCHER, { mode: 0o755 });
  await writeFile(
    join(outDir, "package.json"),
    `${JSON.stringify({ name: "remora", version: info.version, type: "module", private: true })}\n`,
  );
}

/**
 * `await import("ioredis")` gives a CommonJS package's names in Node, but only `default` in a bundle that is split into ES modules. So what is
 * imported lazily becomes a small module that names what Node would.
 */
const namesOfLazyCommonJs: Plugin = {
  name: "names of lazily imported CommonJS",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^[^./]/ }, ({ kind, path }) => {
      if (kind !== "dynamic-import" || path.startsWith("node:") || COPIED_PACKAGES.includes(path)) return null;
      return { path, namespace: "lazy" };
    });
    onLoad({ filter: /.*/, namespace: "lazy" }, async ({ path }) => {
      const names = Object.keys((await import(path)) as object);
      // Node adds this name to the namespace of CommonJS, and of nothing else.
      const isCommonJs = names.includes("module.exports");
      const exported = names.filter((name) => name !== "default" && /^[A-Za-z_$][\w$]*$/.test(name));
      const quoted = JSON.stringify(path);
      const contents = isCommonJs
        ? [
            `const whole = require(${quoted});`,
            "export default whole;",
            ...exported.map((name) => `const _${name} = whole.${name}; export { _${name} as ${name} };`),
          ]
        : [`export * from ${quoted};`, ...(names.includes("default") ? [`export { default } from ${quoted};`] : [])];
      return { contents: contents.join("\n"), resolveDir: PROJECT };
    });
  },
};

/** core/wire/load.ts looks for them beside itself, and it may end up in the entry or in a chunk. */
async function copyProtos(outDir: string): Promise<void> {
  const wire = join(PROJECT, "core", "wire");
  const protos = (await readdir(wire)).filter((name) => name.endsWith(".proto"));
  await mkdir(join(outDir, "chunks"), { recursive: true });
  for (const proto of protos) for (const folder of ["", "chunks"]) await cp(join(wire, proto), join(outDir, folder, proto));
}

async function copyPackages(outDir: string): Promise<void> {
  for (const name of COPIED_PACKAGES) {
    const from = join(PROJECT, "node_modules", name);
    const to = join(outDir, "node_modules", name);
    // Only what runs: koffi's package also holds its C++ source and its manual.
    for (const part of ["package.json", "index.js", "index.cjs", "indirect.js", "indirect.cjs", "lib", "src/koffi"]) {
      await cp(join(from, part), join(to, part), { recursive: true, filter: (path) => !/\.(?:cc|hh|asm|S|c|h|txt|inc)$/.test(path) }).catch(
        ignoreMissing,
      );
    }
    await copyNatives(name, join(outDir, "node_modules"));
  }
}

/** The packages with the compiled parts are optional dependencies, of which npm installs those for this machine. */
async function copyNatives(name: string, to: string): Promise<void> {
  const manifest = JSON.parse(await readFile(join(PROJECT, "node_modules", name, "package.json"), "utf8")) as {
    readonly optionalDependencies?: Readonly<Record<string, string>>;
  };
  for (const native of Object.keys(manifest.optionalDependencies ?? {})) {
    await cp(join(PROJECT, "node_modules", native), join(to, native), { recursive: true }).catch(ignoreMissing);
  }
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== "ENOENT") throw error;
}

if (import.meta.main) {
  const outDir = join(PROJECT, process.argv[2] ?? "dist");
  await bundle({ outDir, commit: process.env["COMMIT"] === "" ? undefined : process.env["COMMIT"] });
  process.stdout.write(`bundled into ${outDir}\n`);
}

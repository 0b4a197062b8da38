// `npm run bundle`: puts the command and all it loads into dist/, as the image carries it: a few ES modules without development packages, and
// koffi, whose native part cannot be bundled.
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";
import { sourceInfo } from "../core/build-info.ts";
import { builtinsWithoutGetters, namesOfLazyCommonJs } from "./bundle-plugins.ts";

const PROJECT = join(import.meta.dirname, "..");
const TARGET = "node26";

/** Loaded by their name at run time, so copied as they are. */
const COPIED_PACKAGES = ["koffi"];

/**
 * Found through symlinks, like bin/remora of a checkout. A sidecar without further words, as in pods, starts without the command line around it, and
 * with bounds on memory and the compile cache that bench/README.md explains. DEP0060 and DEP0169: http-proxy 1.18 calls util._extend and url.parse.
 */
const LAUNCHER = `#!/bin/sh
self=$(readlink -f "$0")
if [ "$*" = sidecar ]; then
  [ -d "\${self%/*}/compile-cache" ] && export NODE_COMPILE_CACHE="\${self%/*}/compile-cache"
  export MALLOC_ARENA_MAX="\${MALLOC_ARENA_MAX:-1}" MALLOC_TRIM_THRESHOLD_="\${MALLOC_TRIM_THRESHOLD_:-131072}"
  exec node --max-semi-space-size=2 --no-async-context-frame --disable-warning=DEP0060 --disable-warning=DEP0169 "\${self%/*}/sidecar.mjs" sidecar
fi
exec node --disable-warning=DEP0060 --disable-warning=DEP0169 "\${self%/*}/remora.mjs" "$@"
`;

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
  // Two builds rather than two entries of one: shared code would be cut into a chunk for every set of commands that uses it, and each chunk costs.
  await Promise.all([
    buildProgram("remora", join(PROJECT, "cli", "main.ts"), outDir, info),
    buildProgram("sidecar", join(PROJECT, "sidecar", "main.ts"), outDir, info),
  ]);
  await copyPackages(outDir);
  await cp(join(PROJECT, "manifests", "base"), join(outDir, "manifests", "base"), { recursive: true }); // what `remora install` prints
  await writeFile(join(outDir, "remora"), LAUNCHER, { mode: 0o755 });
  await cp(join(PROJECT, "bin", "warm-up"), join(outDir, "warm-up"));
  await writeFile(
    join(outDir, "package.json"),
    `${JSON.stringify({ name: "remora", version: info.version, type: "module", private: true })}\n`,
  );
}

async function buildProgram(name: string, entry: string, outDir: string, info: object): Promise<void> {
  await build({
    entryPoints: { [name]: entry },
    outdir: outDir,
    bundle: true,
    splitting: true,
    platform: "node",
    format: "esm",
    target: TARGET,
    outExtension: { ".js": ".mjs" },
    chunkNames: "chunks/[name]-[hash]",
    // Names are kept, for stack traces. White space is not: V8 keeps the source in memory.
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: "linked",
    sourcemap: false,
    logLevel: "warning",
    external: COPIED_PACKAGES,
    plugins: [namesOfLazyCommonJs({ external: COPIED_PACKAGES, resolveDir: PROJECT }), builtinsWithoutGetters],
    // A name that builtinsWithoutGetters leaves out must not become undefined.
    logOverride: { "import-is-undefined": "error" },
    define: { __REMORA_BUILD__: JSON.stringify(info) },
    // CommonJS packages inside ES modules still call require for Node's own modules.
    banner: {
      js: 'const require = process.getBuiltinModule("node:module").createRequire(import.meta.url); const __filename = import.meta.filename, __dirname = import.meta.dirname;',
    },
  });
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

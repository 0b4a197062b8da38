// `npm run bundle`: puts the command and all it loads into dist/, as the image carries it: a few ES modules without development packages, and
// koffi, whose native part cannot be bundled.
import { cp, glob, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { build } from "esbuild";
import { sourceInfo } from "../core/build-info.ts";
import { builtinsWithoutGetters, namesOfLazyCommonJs } from "./bundle-plugins.ts";
import { launcherSource, shellLauncher } from "./image/launcher.ts";

const PROJECT = join(import.meta.dirname, "..");
const TARGET = "node26";

/** Loaded by their name at run time, so copied as they are. */
const COPIED_PACKAGES = ["koffi"];

/** Where the image keeps the bundle and its Node; the compiled launcher of the image knows no other places. */
export const IMAGE_HOME = "/opt/remora";
const IMAGE_NODE = "/usr/local/bin/node";

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
  const contents = await Promise.all([
    buildProgram("remora", join(PROJECT, "cli", "main.ts"), outDir, info),
    buildProgram("sidecar", join(PROJECT, "sidecar", "main.ts"), outDir, info),
  ]);
  await copyPackages(outDir);
  await cp(join(PROJECT, "manifests", "base"), join(outDir, "manifests", "base"), { recursive: true }); // what `remora install` prints
  await writeFile(join(outDir, "remora"), shellLauncher(), { mode: 0o755 });
  await writeFile(join(outDir, "launcher.c"), launcherSource({ home: IMAGE_HOME, node: IMAGE_NODE }));
  await writeFile(join(outDir, "packages.json"), `${JSON.stringify(packagesOf(contents.flat(), await copiedPackages(outDir)), null, 1)}\n`);
  await cp(join(PROJECT, "bin", "warm-up"), join(outDir, "warm-up"));
  await writeFile(
    join(outDir, "package.json"),
    `${JSON.stringify({ name: "remora", version: info.version, type: "module", private: true })}\n`,
  );
}

async function buildProgram(name: string, entry: string, outDir: string, info: object): Promise<readonly string[]> {
  const { metafile } = await build({
    metafile: true,
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
  return Object.keys(metafile.inputs);
}

/**
 * The installed packages that `inputs` (paths of esbuild) and what is copied come from, as their places in the lock file, e.g.
 * "node_modules/pino". The image's bill of materials is made of them.
 */
function packagesOf(inputs: readonly string[], copied: readonly string[]): readonly string[] {
  const found = inputs
    .filter((path) => path.includes("node_modules/"))
    .map((path) => packagePlace(path.slice(path.indexOf("node_modules/"))));
  return [...new Set([...found, ...copied])].sort();
}

/** The places of what was copied: the packages, and the compiled parts of them for this machine. */
async function copiedPackages(outDir: string): Promise<readonly string[]> {
  const places: string[] = [];
  for await (const manifest of glob(["node_modules/*/package.json", "node_modules/@*/*/package.json"], { cwd: outDir }))
    places.push(dirname(manifest));
  return places;
}

/** "node_modules/a/node_modules/@b/c/lib/x.js" becomes "node_modules/a/node_modules/@b/c". */
function packagePlace(path: string): string {
  const parts = path.split("/");
  const last = parts.lastIndexOf("node_modules");
  return parts.slice(0, last + (parts[last + 1]?.startsWith("@") === true ? 3 : 2)).join("/");
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

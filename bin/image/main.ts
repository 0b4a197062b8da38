// `npm run image`: builds the image, runs it, and says what was proven; the bill of materials and the report are left in dist-image/. Ends with 0
// only if every proof holds. README.md, "The image", has the last figures.
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type BuiltImage, buildah, buildImage, builtImage, projectVersion } from "./build.ts";
import { demand } from "./commands.ts";
import { type Proof, proveImage } from "./prove.ts";

const OUT = join(import.meta.dirname, "..", "..", "dist-image");
const HELP = `npm run image -- [--base IMAGE] [--archive] [--built]
  --base IMAGE   the image to build in: a Debian with Node 26 and npm, by digest. Default: one made here with debootstrap, and kept.
  --built        prove the image that the last run built
  --archive      also write the image to dist-image/remora.tar, for \`podman load\`, \`skopeo copy\` and the like
It builds what is committed. Debian packages needed: buildah debootstrap iproute2 util-linux git. Runs as root.
`;

async function main(words: readonly string[]): Promise<boolean> {
  const { values } = parseArgs({
    args: [...words],
    options: {
      base: { type: "string" },
      archive: { type: "boolean", default: false },
      built: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return true;
  }
  demand({
    buildah: "buildah",
    ip: "iproute2",
    unshare: "util-linux",
    setpriv: "util-linux",
    nsenter: "util-linux",
    git: "git",
    ...forBase(values.base),
  });
  if (values.base !== undefined && !values.base.includes("@sha256:") && !values.base.startsWith("localhost/"))
    process.stderr.write(`warning: ${values.base} is no digest, so another build may become another image\n`);
  const startedMs = performance.now();
  const image = values.built ? builtImage(projectVersion()) : buildImage(projectVersion(), values.base ?? null);
  const builtS = (performance.now() - startedMs) / 1000;
  const proofs = await unpacked(image, (root) => {
    mkdirSync(OUT, { recursive: true });
    copyFileSync(join(root, "opt/remora/sbom.cdx.json"), join(OUT, "sbom.cdx.json"));
    return proveImage(root, image.commit);
  });
  if (values.archive) {
    const archive = join(OUT, "remora.tar");
    rmSync(archive, { force: true });
    buildah(["push", "--quiet", image.name, `docker-archive:${archive}`]);
  }
  writeFileSync(join(OUT, "report.json"), `${JSON.stringify({ ...image, builtS: Math.round(builtS), proofs }, null, 2)}\n`);
  process.stdout.write(format(image, builtS, proofs));
  return proofs.every(({ holds }) => holds);
}

function forBase(base: string | undefined): Readonly<Record<string, string>> {
  return base === undefined ? { debootstrap: "debootstrap" } : {};
}

async function unpacked<Value>({ name }: BuiltImage, use: (root: string) => Promise<Value>): Promise<Value> {
  const container = buildah(["from", "--pull-never", name]).trim();
  try {
    return await use(buildah(["mount", container]).trim());
  } finally {
    buildah(["rm", container]);
  }
}

function format({ name, base, baseDigest, commit }: BuiltImage, builtS: number, proofs: readonly Proof[]): string {
  const lines = proofs.map(({ says, holds, found }) => `${holds ? "ok  " : "FAIL"} ${says}: ${found}`);
  return `${name} of commit ${commit}\nbuilt in ${builtS.toFixed(0)} s on ${base} (${baseDigest === "" ? "no digest" : baseDigest})\n${lines.join("\n")}\n`;
}

try {
  process.exitCode = (await main(process.argv.slice(2))) ? 0 : 1;
} catch (error) {
  process.stderr.write(`image: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}

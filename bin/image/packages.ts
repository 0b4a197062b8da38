// Which Debian packages the files of an image come from, asked of the dpkg of the machine that builds it. Base images whose programs were put there
// by hand (Node's) have files that belong to no package.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";

/** One installed package. */
export interface DebianPackage {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  /** Its paragraph in dpkg's status file, for scanners that look for it. */
  readonly stanza: string;
}

/** The packages that own `paths`, each once, by name. */
export function packagesOwning(paths: readonly string[]): readonly DebianPackage[] {
  // Since /lib became a link to /usr/lib, dpkg knows some files by their old place.
  const spellings = paths.flatMap((path) => (path.startsWith("/usr/") ? [path, path.slice("/usr".length)] : [path]));
  // It exits with 1 when one of the paths is nobody's.
  const { stdout } = spawnSync("dpkg-query", ["--search", ...spellings], { encoding: "utf8", maxBuffer: 64 << 20 });
  const names = stdout.split("\n").flatMap((line) => {
    const owners = /^([^:]+(?::[a-z0-9-]+)?(?:, [^ ]+)*): \//.exec(line)?.[1];
    return owners === undefined ? [] : owners.split(", ");
  });
  return [...new Set(names)].sort().map(describe);
}

/** Its licence, which has to travel with it. Null when the base image left documentation out. */
export function copyrightOf({ name }: DebianPackage): string | null {
  const path = `/usr/share/doc/${name}/copyright`;
  return existsSync(path) ? path : null;
}

function describe(name: string): DebianPackage {
  const format = ["Package", "Version", "Architecture"].map((field) => `\${${field}}`).join("\\t");
  const [plain = name, version = "", architecture = ""] = execFileSync("dpkg-query", ["--show", `--showformat=${format}`, name], {
    encoding: "utf8",
  }).split("\t");
  return { name: plain, version, architecture, stanza: execFileSync("dpkg-query", ["--status", name], { encoding: "utf8" }) };
}

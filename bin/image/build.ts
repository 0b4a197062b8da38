// Builds the image with buildah, without a daemon and without user namespaces (chroot isolation, plain copies as layers). Where no base is named, it
// makes one first: the smallest Debian, with the Node of this checkout in it.
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "./commands.ts";

const PROJECT = join(import.meta.dirname, "..", "..");
const SUITE = "bookworm";
/** What the build stage needs; in the base already, so that one base serves many builds. */
const BASE_PACKAGES = ["iptables", "ca-certificates", "tzdata", "gcc", "libc6-dev", "libatomic1", "libstdc++6"];

/** An image in the store. */
export interface BuiltImage {
  readonly name: string;
  readonly base: string;
  readonly baseDigest: string;
  /** Of its manifest, as far as the store knows; it may change when a registry compresses the layers in another way. */
  readonly digest: string;
  readonly commit: string;
}

/** Runs buildah on the project's own store, which is outside of the repository. */
export function buildah(words: readonly string[], options: { readonly show?: boolean; readonly cwd?: string } = {}): string {
  const folder = storeFolder();
  mkdirSync(folder, { recursive: true });
  return run("buildah", ["--root", join(folder, "root"), "--runroot", join(folder, "run"), "--storage-driver", "vfs", ...words], options);
}

/** Builds what is committed, so that the commit written into the image is true. `base` null: one of our own making. */
export function buildImage(version: string, base: string | null): BuiltImage {
  const commit = run("git", ["rev-parse", "HEAD"], { cwd: PROJECT }).trim();
  const name = `localhost/remora:${version}`;
  const on = base ?? ownBase();
  const context = mkdtempSync(join(tmpdir(), "remora-image-"));
  try {
    run("sh", ["-c", 'git archive HEAD | tar -x -C "$1"', "sh", context], { cwd: PROJECT });
    buildah(
      [
        "build",
        "--isolation",
        "chroot",
        "--layers=false",
        ...secrets(),
        "--build-arg",
        `BASE=${on}`,
        "--build-arg",
        `COMMIT=${commit}`,
        "--tag",
        name,
        ".",
      ],
      { show: true, cwd: context },
    );
  } finally {
    rmSync(context, { recursive: true, force: true });
  }
  return builtImage(version);
}

/** What the store has of this version, by what the image itself says. @throws Error when there is none */
export function builtImage(version: string): BuiltImage {
  const name = `localhost/remora:${version}`;
  const label = (of: string) =>
    buildah(["inspect", "--type", "image", "--format", `{{index .OCIv1.Config.Labels "org.opencontainers.image.${of}"}}`, name]).trim();
  const base = label("base.name");
  return { name, base, baseDigest: digestOf(base), digest: digestOf(name), commit: label("revision") };
}

function digestOf(image: string): string {
  return buildah(["inspect", "--type", "image", "--format", "{{.FromImageDigest}}", image]).trim();
}

/** What reaches the package registry from here may need the user's npm settings and a certificate; neither ends up in a layer. */
function secrets(): readonly string[] {
  const npmrc = join(homedir(), ".npmrc");
  const certificates = process.env["NODE_EXTRA_CA_CERTS"] ?? "";
  return [
    ...(existsSync(npmrc) ? ["--secret", `id=npmrc,src=${npmrc}`] : []),
    ...(certificates !== "" && existsSync(certificates) ? ["--secret", `id=ca,src=${certificates}`] : []),
  ];
}

/** The name of our base, made when the store has none for this Node. */
function ownBase(): string {
  const node = process.version;
  const name = `localhost/remora-base:${SUITE}-node${node.slice(1)}`;
  if (buildah(["images", "--quiet", "--filter", `reference=${name}`]).trim() !== "") return name;
  const root = mkdtempSync(join(tmpdir(), "remora-base-"));
  try {
    run("debootstrap", ["--variant=minbase", `--include=${BASE_PACKAGES.join(",")}`, SUITE, root, mirror()], { show: true });
    for (const folder of ["var/cache/apt/archives", "var/lib/apt/lists"]) rmSync(join(root, folder), { recursive: true, force: true });
    cpSync(process.execPath, join(root, "usr/local/bin/node"), { dereference: true });
    const npm = run("sh", ["-c", 'dirname "$(dirname "$(readlink -f "$(command -v npm)")")"']).trim();
    cpSync(npm, join(root, "usr/local/lib/node_modules/npm"), { recursive: true });
    run("ln", ["-s", "../lib/node_modules/npm/bin/npm-cli.js", join(root, "usr/local/bin/npm")]);
    const container = buildah(["from", "scratch"]).trim();
    buildah(["add", "--quiet", container, root, "/"]);
    buildah(["config", "--env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", container]);
    buildah(["commit", "--quiet", "--rm", container, name]);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
  return name;
}

/** Where this machine gets its own Debian packages from. */
function mirror(): string {
  const places = run("apt-get", ["indextargets", "--format", "$(REPO_URI) $(RELEASE)"]).split("\n");
  const found = places.find((line) => line.endsWith(` ${SUITE}`))?.split(" ")[0];
  if (found === undefined) throw new Error(`this machine's package lists know no ${SUITE}: run apt-get update, or name a base with --base`);
  return found;
}

function storeFolder(): string {
  const cache = process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache");
  return join(cache, "remora", "image-store");
}

/** The version in package.json, which is also the image's tag. */
export function projectVersion(): string {
  return (JSON.parse(readFileSync(join(PROJECT, "package.json"), "utf8")) as { readonly version: string }).version;
}

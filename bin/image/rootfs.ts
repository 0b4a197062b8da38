// Makes the image's root file system out of the one that it is built in: Node, the bundle, iptables, the libraries that these ask for, roots of public
// TLS, time zones, and a list of users. No shell, no package manager and no interpreter but Node. Runs in the Dockerfile:
//   node bin/image/rootfs.ts /opt/remora /rootfs
// Everything in it belongs to root and can be written by nobody else; it holds the bill of materials as /opt/remora/sbom.cdx.json.
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { copyrightOf, packagesOwning } from "./packages.ts";
import { billOfMaterials, type LockedPackage } from "./sbom.ts";

const PROJECT = join(import.meta.dirname, "..", "..");
const NODE = "/usr/local/bin/node";
const UID = 1337;

/** Programs that hide behind the names of iptables, and those names. */
const IPTABLES: Readonly<Record<string, readonly string[]>> = {
  "xtables-nft-multi": ["", "-nft"].flatMap((flavour) => namesOfIptables(flavour)),
  "xtables-legacy-multi": namesOfIptables("-legacy"),
};
const DATA = ["/etc/ssl/certs/ca-certificates.crt", "/usr/share/zoneinfo", "/etc/protocols", "/etc/os-release"];

/** koffi also brings its native part for Alpine's C library, which the image has not. */
const FOR_MUSL = /\/musl_[a-z0-9]+(?:\/|$)/;

/** Merged like Debian's own since version 12. */
const LINKS: Readonly<Record<string, string>> = {
  "/bin": "usr/bin",
  "/sbin": "usr/sbin",
  "/lib": "usr/lib",
  "/lib64": "usr/lib64",
  "/var/run": "../run",
  "/etc/localtime": "/usr/share/zoneinfo/Etc/UTC",
  "/usr/local/bin/remora": "/opt/remora/remora",
  "/remora": "/opt/remora/remora",
};

const FILES: Readonly<Record<string, string>> = {
  "/etc/passwd": `root:x:0:0:root:/:/nonexistent\nremora:x:${UID}:${UID}:remora:/var/run/remora:/nonexistent\nnobody:x:65534:65534:nobody:/nonexistent:/nonexistent\n`,
  "/etc/group": `root:x:0:\nremora:x:${UID}:\nnogroup:x:65534:\n`,
  "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nprotocols: files\n",
};

/** Makes it. `home` is the finished bundle, with its launcher compiled and its cache filled. */
export function makeRootfs(home: string, target: string): void {
  const libraries = new Set<string>();
  const copied: string[] = [];

  function place(path: string, from = path): void {
    const to = join(target, path);
    mkdirSync(dirname(to), { recursive: true });
    cpSync(from, to, { recursive: true, verbatimSymlinks: true, filter: (name) => !FOR_MUSL.test(name) });
    copied.push(realpathSync(from));
  }

  for (const folder of [
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/bin",
    "/etc",
    "/run",
    "/var",
    "/opt",
    "/proc",
    "/sys",
    "/dev",
    "/root",
  ])
    mkdirSync(join(target, folder), { recursive: true });
  mkdirSync(join(target, "/tmp"));
  chmodSync(join(target, "/tmp"), 0o1777);
  for (const [path, to] of Object.entries(LINKS)) {
    mkdirSync(dirname(join(target, path)), { recursive: true });
    symlinkSync(to, join(target, path));
  }
  place(NODE, realpathSync(NODE));
  place(home);
  const plugins = iptablesPlugins();
  place(plugins);
  for (const [program, names] of Object.entries(IPTABLES)) {
    place(`/usr/sbin/${program}`);
    for (const name of names) symlinkSync(program, join(target, "/usr/sbin", name));
  }
  for (const path of DATA) if (existsSync(path)) place(path, realpathSync(path));
  for (const path of programsIn([NODE, home, plugins, ...Object.keys(IPTABLES).map((name) => `/usr/sbin/${name}`)])) {
    for (const library of librariesOf(path)) libraries.add(library);
  }
  for (const library of libraries) {
    // By the name that programs ask for, with the content behind it. The folder may be a link in the image as well.
    const to = join(target, merged(library));
    mkdirSync(dirname(to), { recursive: true });
    if (!existsSync(to)) copyFileSync(realpathSync(library), to);
    copied.push(realpathSync(library));
  }
  for (const [path, text] of Object.entries(FILES)) writeFileSync(join(target, path), text);
  // What the kubelet or an emptyDir does not cover: a sidecar that runs without either can still keep its state.
  mkdirSync(join(target, "/run/remora"));
  execFileSync("chown", ["-R", "0:0", target]);
  execFileSync("chmod", ["-R", "go-w", join(target, "/opt"), join(target, "/usr"), join(target, "/etc")]);
  // Node writes its compile cache for its owner alone; the sidecar is to read it and nobody to change it.
  execFileSync("chmod", ["-R", "a+rX", join(target, home)]);
  execFileSync("chown", [`${UID}:${UID}`, join(target, "/run/remora")]);
  describeContents(home, target, copied);
}

/** The bill of materials, what scanners look for, and the licences. */
function describeContents(home: string, target: string, copied: readonly string[]): void {
  const debian = packagesOwning(filesIn(copied.filter((path) => !path.startsWith(home))));
  for (const one of debian) {
    write(target, `/var/lib/dpkg/status.d/${one.name}`, one.stanza);
    const copyright = copyrightOf(one);
    if (copyright !== null) write(target, `/usr/share/doc/${one.name}/copyright`, readFileSync(copyright, "utf8"));
  }
  const lock = JSON.parse(readFileSync(join(PROJECT, "package-lock.json"), "utf8")) as { readonly packages: Record<string, LockedPackage> };
  const bundled = JSON.parse(readFileSync(join(home, "packages.json"), "utf8")) as readonly string[];
  const [, version = "", commit = "", builtAt = ""] =
    /^remora (.*)\ncommit (.*)\nbuilt +(.*)/.exec(execFileSync(join(home, "remora"), ["version"], { encoding: "utf8" })) ?? [];
  const bill = billOfMaterials({
    version,
    commit,
    builtAt,
    bundled,
    lock: lock.packages,
    debian,
    distribution: distribution(),
    node: process.versions,
  });
  write(target, join(home, "sbom.cdx.json"), `${JSON.stringify(bill, null, 1)}\n`);
}

function write(target: string, path: string, text: string): void {
  mkdirSync(dirname(join(target, path)), { recursive: true });
  writeFileSync(join(target, path), text);
}

function distribution(): string {
  const text = existsSync("/etc/os-release") ? readFileSync("/etc/os-release", "utf8") : "";
  const field = (name: string) => new RegExp(`^${name}="?([^"\n]*)`, "m").exec(text)?.[1] ?? "unknown";
  return `${field("ID")}-${field("VERSION_ID")}`;
}

/** Loaded by iptables by name, so no program asks for them as libraries. */
function iptablesPlugins(): string {
  const found = readdirSync("/usr/lib")
    .map((name) => join("/usr/lib", name, "xtables"))
    .find((path) => existsSync(path));
  if (found === undefined) throw new Error("the base has no iptables: install the package");
  return found;
}

function namesOfIptables(flavour: string): readonly string[] {
  return ["iptables", "ip6tables"].flatMap((family) => ["", "-save", "-restore"].map((verb) => `${family}${flavour}${verb}`));
}

/** Every ELF file in these files and folders. */
function programsIn(paths: readonly string[]): readonly string[] {
  return filesIn(paths).filter((path) => readFileSync(path).subarray(0, 4).equals(Buffer.from("\x7fELF", "latin1")));
}

function filesIn(paths: readonly string[]): readonly string[] {
  return paths.flatMap((path) => {
    const real = realpathSync(path);
    if (!lstatSync(real).isDirectory()) return [real];
    return readdirSync(real, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && !FOR_MUSL.test(entry.parentPath))
      .map((entry) => join(entry.parentPath, entry.name));
  });
}

/** Absolute paths of what the dynamic linker loads, itself included. */
function librariesOf(path: string): readonly string[] {
  let printed: string;
  try {
    printed = execFileSync("ldd", [path], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  } catch (error) {
    // "not a dynamic executable"; a missing library does not fail.
    if (/not a dynamic executable|statically linked/.test(String((error as { readonly stderr?: unknown }).stderr))) return [];
    throw error;
  }
  if (printed.includes("not found")) throw new Error(`${basename(path)} misses a library:\n${printed}`);
  return printed.split("\n").flatMap((line) => {
    const found = /(?:=> )?(\/\S+) \(0x/.exec(line)?.[1];
    return found === undefined ? [] : [found];
  });
}

/** The place of a file once /lib is a link to /usr/lib. */
function merged(path: string): string {
  return /^\/(?:lib|lib64|bin|sbin)\//.test(path) ? `/usr${path}` : path;
}

if (import.meta.main) {
  const [home, target] = process.argv.slice(2);
  if (home === undefined || target === undefined) throw new Error("usage: rootfs.ts HOME TARGET");
  makeRootfs(home, target);
}

// The image's bill of materials, CycloneDX 1.6: what is really in it. That is the npm packages that ended up in the bundle, as the lock file pins them;
// the Debian packages whose files were copied; and Node with what is compiled into it.
import { createHash } from "node:crypto";
import type { DebianPackage } from "./packages.ts";

/** One package of package-lock.json, as far as it is used here. */
export interface LockedPackage {
  readonly version: string;
  readonly integrity?: string;
  readonly license?: string;
}

/** What a bill is made of. */
export interface Contents {
  readonly version: string;
  readonly commit: string;
  /** ISO time. */
  readonly builtAt: string;
  /** Places in the lock file, e.g. "node_modules/pino". */
  readonly bundled: readonly string[];
  readonly lock: Readonly<Record<string, LockedPackage>>;
  readonly debian: readonly DebianPackage[];
  /** `ID` and `VERSION_ID` of the system, e.g. "debian-12". */
  readonly distribution: string;
  /** `process.versions` of the image's Node. */
  readonly node: Readonly<Record<string, string | undefined>>;
}

interface Component {
  readonly type: "application" | "library" | "operating-system";
  readonly name: string;
  readonly version: string;
  readonly "bom-ref": string;
  readonly [field: string]: unknown;
}

/** The bill as an object for JSON. @throws Error when something was bundled that the lock file does not pin */
export function billOfMaterials(contents: Contents): object {
  const { version, commit, builtAt, node } = contents;
  const self: Component = {
    type: "application",
    name: "remora",
    version,
    "bom-ref": `pkg:generic/remora@${version}`,
    properties: [{ name: "remora:commit", value: commit }],
  };
  const components = [
    ...contents.bundled.map((place) => npmComponent(place, contents.lock)),
    nodeComponent(node),
    ...contents.debian.map((one) => debianComponent(one, contents.distribution)),
  ];
  return {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    serialNumber: `urn:uuid:${uuidOf(JSON.stringify([self, components]))}`,
    version: 1,
    metadata: { timestamp: builtAt, component: self },
    components,
    dependencies: [{ ref: self["bom-ref"], dependsOn: components.map((component) => component["bom-ref"]) }],
  };
}

function npmComponent(place: string, lock: Contents["lock"]): Component {
  const locked = lock[place];
  if (locked === undefined) throw new Error(`${place} is in the bundle but not in package-lock.json`);
  const name = place.slice(place.lastIndexOf("node_modules/") + "node_modules/".length);
  const purl = `pkg:npm/${name.replace("@", "%40")}@${locked.version}`;
  return {
    type: "library",
    name,
    version: locked.version,
    "bom-ref": purl,
    purl,
    ...(locked.license === undefined ? {} : { licenses: [{ expression: locked.license }] }),
    ...(locked.integrity === undefined ? {} : { hashes: [hashOf(locked.integrity)] }),
  };
}

/** "sha512-<base64>" of the registry, in CycloneDX's hexadecimal. */
function hashOf(integrity: string): object {
  const [algorithm = "", base64 = ""] = integrity.split("-", 2);
  return { alg: algorithm.replace(/^sha/, "SHA-"), content: Buffer.from(base64, "base64").toString("hex") };
}

/** What Node carries inside it is listed with it, since that is what its security releases are about. */
function nodeComponent(versions: Contents["node"]): Component {
  const { node = "unknown", ...parts } = versions;
  const inside = Object.entries(parts).flatMap(([name, version]) =>
    version === undefined || !/\d/.test(version) || name === "modules" || name === "napi"
      ? []
      : [{ type: "library", name, version, "bom-ref": `pkg:generic/node/${name}@${version}` }],
  );
  return {
    type: "application",
    name: "node",
    version: node,
    "bom-ref": `pkg:generic/node@${node}`,
    purl: `pkg:generic/node@${node}`,
    licenses: [{ license: { id: "MIT" } }],
    components: inside,
  };
}

function debianComponent({ name, version, architecture }: DebianPackage, distribution: string): Component {
  const purl = `pkg:deb/debian/${name}@${encodeURIComponent(version)}?arch=${architecture}&distro=${distribution}`;
  return { type: "library", name, version, "bom-ref": purl, purl };
}

/** The same contents have the same number. */
function uuidOf(text: string): string {
  const hex = createHash("sha256").update(text).digest("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

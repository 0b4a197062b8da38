// The volumes of one pod as folders on the host, to be bind-mounted into its containers: emptyDir (tmpfs when in memory), projected tokens, ConfigMaps,
// Secrets and the downward API. Owns their content and their removal.
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fieldValue, type KeyToPath, type Literals, type Pod, type PodFacts, quantity, type Volume } from "./pod-spec.ts";

/** Mints a service-account token for the pod, as the kubelet would ask the API server to. */
export type MintToken = (request: {
  readonly pod: Pod;
  readonly facts: PodFacts;
  readonly audience: string;
  readonly expirationSeconds: number;
}) => Promise<string> | string;

export interface VolumeSources {
  readonly pod: Pod;
  readonly facts: PodFacts;
  readonly configMaps: Literals;
  readonly secrets: Literals;
  readonly mintToken: MintToken;
}

export interface PodVolumes {
  /** Volume name → folder on the host. */
  readonly folders: ReadonlyMap<string, string>;
  /** Writes every projected token again, as the kubelet does before one expires. */
  refreshTokens(): Promise<void>;
}

/** Makes all volumes of the pod under `root`. @throws Error for a volume of an unsupported kind */
export async function makeVolumes(root: string, sources: VolumeSources): Promise<PodVolumes> {
  const folders = new Map<string, string>();
  for (const volume of sources.pod.spec.volumes ?? []) {
    const folder = join(root, volume.name);
    mkdirSync(folder, { recursive: true });
    folders.set(volume.name, folder);
    await fill(volume, folder, sources);
  }
  const refreshTokens = async () => {
    for (const volume of sources.pod.spec.volumes ?? [])
      if (volume.projected !== undefined) await fill(volume, join(root, volume.name), sources);
  };
  return { folders, refreshTokens };
}

async function fill(volume: Volume, folder: string, sources: VolumeSources): Promise<void> {
  if (volume.emptyDir !== undefined) return makeEmptyDir(folder, volume.emptyDir);
  if (volume.configMap !== undefined) return writeLiterals(folder, sources.configMaps, volume.configMap.name, volume.configMap.items);
  if (volume.secret !== undefined) return writeLiterals(folder, sources.secrets, volume.secret.secretName, volume.secret.items);
  if (volume.downwardAPI !== undefined) return writeFields(folder, volume.downwardAPI.items, sources);
  if (volume.projected === undefined) throw new Error(`pod runner: volume ${volume.name} is of a kind that is not supported`);
  for (const source of volume.projected.sources) {
    if (source.serviceAccountToken !== undefined) {
      const { path, audience = "https://kubernetes.default.svc", expirationSeconds = 3600 } = source.serviceAccountToken;
      const token = await sources.mintToken({ pod: sources.pod, facts: sources.facts, audience, expirationSeconds });
      writeVolumeFile(join(folder, path), token, volume.projected.defaultMode);
    }
    if (source.configMap !== undefined && (source.configMap.optional !== true || sources.configMaps[source.configMap.name] !== undefined)) {
      writeLiterals(folder, sources.configMaps, source.configMap.name, source.configMap.items);
    }
    if (source.downwardAPI !== undefined) writeFields(folder, source.downwardAPI.items, sources);
  }
}

function makeEmptyDir(folder: string, emptyDir: { readonly medium?: string; readonly sizeLimit?: string }): void {
  if (emptyDir.medium === "Memory") {
    const size = emptyDir.sizeLimit === undefined ? "64m" : String(Math.ceil(quantity(emptyDir.sizeLimit)));
    const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${size},mode=0777`, "tmpfs", folder], { encoding: "utf8" });
    if (mounted.status !== 0) throw new Error(`pod runner: mount tmpfs ${folder}: ${mounted.stderr}`);
  }
  chmodSync(folder, 0o777);
}

function writeLiterals(folder: string, literals: Literals, name: string, items: readonly KeyToPath[] | undefined): void {
  const content = literals[name];
  if (content === undefined) throw new Error(`pod runner: there is no ConfigMap or Secret ${name}`);
  for (const { key, path } of items ?? Object.keys(content).map((key) => ({ key, path: key }))) {
    const value = content[key];
    if (value === undefined) throw new Error(`pod runner: ${name} has no key ${key}`);
    writeVolumeFile(join(folder, path), value, undefined);
  }
}

function writeFields(
  folder: string,
  items: ReadonlyArray<{ readonly path: string; readonly fieldRef?: { readonly fieldPath: string } }>,
  { pod, facts }: VolumeSources,
): void {
  for (const { path, fieldRef } of items) {
    if (fieldRef !== undefined) writeVolumeFile(join(folder, path), fieldValue(pod, facts, fieldRef.fieldPath), undefined);
  }
}

function writeVolumeFile(path: string, content: string, mode = 0o644): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  chmodSync(path, mode);
}

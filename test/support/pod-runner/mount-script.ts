// A container's own view of the file system: its volumes at their mount paths, this repository where anybody may read it, an empty /run, and a root that
// is read-only when the security context says so. Containers otherwise share the host's files. Written as a shell script that becomes its arguments.
import { chmodSync, existsSync, mkdirSync, readdirSync, realpathSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { Container } from "./pod-spec.ts";

/** Where a container sees this repository, whoever may read the path it really lies at. */
export const REPOSITORY_MOUNT = "/run/.repository";

/** Where containers keep what Node compiled for the next ones, as the project's image brings it along. Node tells users apart in it. */
export const COMPILE_CACHE_MOUNT = "/run/.compile-cache";
const COMPILE_CACHE = join(tmpdir(), "remora-compile-cache");
const ANYBODY_MAY_ADD = 0o1777;

/** The first step; also the mark of a process that is not yet the container's own program. */
export const MOUNT_RUN = "mount -t tmpfs -o mode=0755 tmpfs /run";

export interface MountPlan {
  readonly container: Container;
  /** The repository's root, mounted read-only at {@link REPOSITORY_MOUNT}. */
  readonly repository: string;
  readonly volumeFolders: ReadonlyMap<string, string>;
}

/** Shell text that builds the container's view of the file system and then becomes its arguments. */
export function mountScript({ container, repository, volumeFolders }: MountPlan): string {
  mkdirSync(COMPILE_CACHE, { recursive: true });
  chmodSync(COMPILE_CACHE, ANYBODY_MAY_ADD);
  const lines = ["set -e", MOUNT_RUN, ...repositoryLines(repository), ...bindLines(COMPILE_CACHE, COMPILE_CACHE_MOUNT, false)];
  for (const mount of container.volumeMounts ?? []) {
    const folder = volumeFolders.get(mount.name);
    if (folder === undefined) throw new Error(`container ${container.name} mounts ${mount.name}, which is no volume of the pod`);
    const source = mount.subPath === undefined ? folder : join(folder, mount.subPath);
    makeMountPoint(mount.mountPath);
    lines.push(...bindLines(source, mount.mountPath, mount.readOnly === true));
  }
  const context = container.securityContext;
  if (context?.readOnlyRootFilesystem === true) lines.push("mount -o remount,ro /run", "mount -o remount,bind,ro /");
  if (container.workingDir !== undefined) lines.push(`cd ${quote(container.workingDir)}`);
  else lines.push("cd /");
  // tap makes every child load its own modules (NODE_OPTIONS); a container is not part of the test run, and may not even be able to read them.
  return [...lines, "unset NODE_OPTIONS", 'exec "$@"'].join("\n");
}

const OTHERS_MAY_READ = 0o005;

/** The repository in one piece, or entry by entry where its own folder is closed to others, as that of `mktemp -d` is. */
function repositoryLines(repository: string): readonly string[] {
  if ((statSync(repository).mode & OTHERS_MAY_READ) === OTHERS_MAY_READ) return bindLines(repository, REPOSITORY_MOUNT, true);
  const entries = readdirSync(repository).filter((name) => name !== ".git" && name !== ".tap");
  return entries.flatMap((name) => bindLines(join(repository, name), join(REPOSITORY_MOUNT, name), true));
}

function bindLines(source: string, target: string, isReadOnly: boolean): readonly string[] {
  const isFile = existsSync(source) && statSync(source).isFile();
  const makePoint = isFile
    ? `mkdir -p ${quote(dirname(target))}; [ -e ${quote(target)} ] || : > ${quote(target)}`
    : `mkdir -p ${quote(target)}`;
  const bind = `mount --bind ${quote(source)} ${quote(target)}`;
  return isReadOnly ? [makePoint, bind, `mount -o remount,bind,ro ${quote(target)}`] : [makePoint, bind];
}

/** Mount points outside /run are folders of the host; those that are missing are made here and listed in {@link madeMountPoints}. */
function makeMountPoint(path: string): void {
  let existing = path;
  while (!existsSync(existing)) existing = dirname(existing);
  const real = realpathSync(existing);
  if (real === "/run" || real.startsWith("/run/") || existing === path) return;
  const first = mkdirSync(path, { recursive: true });
  if (first !== undefined) madeMountPoints.push(path);
}

/** Folders of the host that were made as mount points, to be removed (while empty) at the end. */
export const madeMountPoints: string[] = [];

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

// Where the programs of Kubernetes are that the cluster tests run (etcd, kube-apiserver, kubectl): in the folder that KUBEBUILDER_ASSETS names, as for
// envtest. `.ci/kubernetes` builds such a folder; where nothing names one, the newest that it has built is taken.
import { readdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/** The folder, or null where there is none. */
export function kubernetesFolder(): string | null {
  return process.env["KUBEBUILDER_ASSETS"] || newestBuild();
}

function newestBuild(): string | null {
  const cache = join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "remora");
  try {
    const builds = readdirSync(cache).filter((name) => name.startsWith("kubernetes-"));
    const newest = builds.sort((a, b) => a.localeCompare(b, "en", { numeric: true })).at(-1);
    return newest === undefined ? null : join(cache, newest);
  } catch {
    return null; // nothing was ever built
  }
}

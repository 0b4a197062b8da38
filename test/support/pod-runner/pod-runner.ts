// Runs pods for tests: a pod spec as the API server would have admitted it becomes processes in a network namespace, with everything a kubelet gives a
// pod that matters to a mesh (design 15). Opens with the one function that tests call; each idea behind it has its own file. Needs root.
import { spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createTestNetwork, type TestNetwork } from "../netns.ts";
import { startContainer } from "./container.ts";
import { createContainerLog } from "./container-log.ts";
import { type ImageMap, localImages } from "./images.ts";
import { madeMountPoints } from "./mount-script.ts";
import { type Container, containerEnv, type Literals, type Pod, type PodFacts } from "./pod-spec.ts";
import { type RunningPod, runPod } from "./pod.ts";
import { type MintToken, makeVolumes } from "./volumes.ts";

const REPOSITORY = resolve(import.meta.dirname, "../../..");
/** Temporary folders whose name goes on with the test process's id are removed by a later runner when that process died. */
export const FOLDER_PREFIX = "remora-pods-";
/** Grace of pods that are still running when the runner closes. */
const CLOSE_GRACE_MS = 1_000;

export interface PodRunnerOptions {
  /** Default: {@link localImages}. */
  readonly images?: ImageMap;
  /** Default: refuses, for pods that mount no token. */
  readonly mintToken?: MintToken;
  /** Lines of every pod's /etc/hosts, e.g. `10.78.1.1 orders orders.shop.svc.cluster.local`. */
  readonly hosts?: readonly string[];
  readonly configMaps?: Literals;
  readonly secrets?: Literals;
  /** Variables of every container, such as those by which a pod finds the API server; the container's own beat them. */
  readonly env?: Readonly<Record<string, string>>;
  /** Overrides an existing network (which then the caller closes). */
  readonly network?: TestNetwork;
}

export interface StartPodOptions {
  /** Called with the pod's facts before anything runs, e.g. to tell an API server about the pod. */
  readonly onScheduled?: (facts: PodFacts) => void | Promise<void>;
  readonly ipFamilies?: readonly ("IPv4" | "IPv6")[];
}

export interface PodRunner {
  readonly network: TestNetwork;
  /** Runs the pod until all its containers have started; see {@link RunningPod.ready}. @throws Error with the logs when it does not come up */
  startPod(pod: Pod, options?: StartPodOptions): Promise<RunningPod>;
  /** Replaces the common lines of /etc/hosts in every pod, running or to come. */
  setHosts(lines: readonly string[]): void;
  /** Logs of every pod that was started, for a test that fails. */
  logs(): string;
  /** Stops all pods and removes namespaces, bridge, volumes and folders. Idempotent. */
  close(): Promise<void>;
}

export function createPodRunner(options: PodRunnerOptions = {}): PodRunner {
  removeLeftovers();
  const network = options.network ?? createTestNetwork();
  const root = join(tmpdir(), `${FOLDER_PREFIX}${process.pid}-${randomUUID().slice(0, 8)}`);
  mkdirSync(root);
  chmodSync(root, 0o755); // containers of any user pass through
  const pods: RunningPod[] = [];
  const hostSetters = new Set<() => void>();
  const cleanups = new Set<() => void>();
  let hosts = options.hosts ?? [];
  let closing: Promise<void> | null = null;
  const mintToken: MintToken =
    options.mintToken ?? (() => Promise.reject(new Error("pod runner: the pod mounts a token and no mintToken is given")));
  const images = options.images ?? localImages;

  const startPod = async (pod: Pod, { onScheduled, ipFamilies = ["IPv4", "IPv6"] }: StartPodOptions = {}): Promise<RunningPod> => {
    const uid = pod.metadata.uid ?? randomUUID();
    const folder = join(root, uid);
    mkdirSync(folder);
    const namespace = network.addNamespace(pod.metadata.name.slice(0, 20));
    const setHosts = () => namespace.setHosts([...aliasLines(pod), `${namespace.ipv4} ${pod.metadata.name}`, ...hosts]);
    hostSetters.add(setHosts);
    const remove = () => {
      hostSetters.delete(setHosts);
      cleanups.delete(remove);
      killAll(namespace.name);
      namespace.close();
      removeFolder(folder);
    };
    cleanups.add(remove);
    try {
      setHosts();
      const facts: PodFacts = {
        uid,
        namespace: pod.metadata.namespace ?? "default",
        nodeName: "test-node",
        hostIp: network.hostIpv4,
        podIps: ipFamilies.map((family) => (family === "IPv4" ? namespace.ipv4 : namespace.ipv6)),
      };
      await onScheduled?.(facts);
      const configMaps = options.configMaps ?? {};
      const secrets = options.secrets ?? {};
      const volumes = await makeVolumes(join(folder, "volumes"), { pod, facts, configMaps, secrets, mintToken });
      const imageOf = (container: Container) => {
        const place = { folder: join(folder, "images", container.name), repository: REPOSITORY };
        mkdirSync(place.folder, { recursive: true });
        return images(container.image ?? "", container, place);
      };
      mkdirSync(join(folder, "logs"));
      const running = await runPod(pod, facts, {
        openLog: (container) => createContainerLog(join(folder, "logs", container.name)),
        start(container, log) {
          const image = imageOf(container);
          const env = {
            HOSTNAME: pod.metadata.name,
            ...image.env,
            ...options.env,
            ...containerEnv(pod, container, facts, configMaps, secrets),
          };
          return startContainer(
            { pod, container, image, env, networkNamespace: namespace.name, repository: REPOSITORY, volumeFolders: volumes.folders },
            log,
          );
        },
        refreshTokens: volumes.refreshTokens,
        remove,
      });
      pods.push(running);
      return running;
    } catch (error) {
      remove();
      throw error;
    }
  };

  const close = async (): Promise<void> => {
    await Promise.allSettled(pods.map((pod) => pod.stop(CLOSE_GRACE_MS)));
    for (const remove of [...cleanups]) remove();
    if (options.network === undefined) network.close();
    removeFolder(root);
    for (const path of madeMountPoints.splice(0)) removeIfEmpty(path);
  };

  return {
    network,
    startPod,
    setHosts(lines) {
      hosts = lines;
      for (const setHosts of hostSetters) setHosts();
    },
    logs: () => pods.map((pod) => pod.logs()).join("\n"),
    close() {
      closing ??= close();
      return closing;
    },
  };
}

function aliasLines(pod: Pod): readonly string[] {
  return (pod.spec.hostAliases ?? []).map(({ ip, hostnames = [] }) => `${ip} ${hostnames.join(" ")}`);
}

/** Whatever still runs in the namespace, of whichever process group. */
function killAll(namespace: string): void {
  const listed = spawnSync("ip", ["netns", "pids", namespace], { encoding: "utf8" });
  for (const pid of (listed.stdout ?? "").split("\n").filter((line) => line !== "")) {
    try {
      process.kill(Number(pid), "SIGKILL");
    } catch {
      // it ended meanwhile
    }
  }
}

/** Unmounts what is mounted below (memory volumes) and removes the folder. */
function removeFolder(folder: string): void {
  const mounts = readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[1] ?? "");
  for (const mount of mounts.filter((path) => path.startsWith(`${folder}/`)).reverse()) spawnSync("umount", ["-l", mount]);
  rmSync(folder, { recursive: true, force: true });
}

function removeIfEmpty(path: string): void {
  try {
    rmdirSync(path);
  } catch {
    // somebody else uses it; it was a mount point of ours, not ours alone
  }
}

/** Removes folders and mounts of test processes that are dead. */
function removeLeftovers(): void {
  for (const name of readdirSync(tmpdir())) {
    const pid = name.startsWith(FOLDER_PREFIX) ? /^(\d+)-/.exec(name.slice(FOLDER_PREFIX.length))?.[1] : undefined;
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) removeFolder(join(tmpdir(), name));
  }
}

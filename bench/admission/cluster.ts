// The cluster that the measured injector sees: a stand-in of the API server with as many namespaces and nodes as a large installation has, and the
// injector itself, `remora control` with that role alone, as in our manifests.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { freePorts } from "../../cli/run/free-ports.ts";
import { type KubeApi, startKubeApi } from "../../test/support/kube-api.ts";
import { podEnvironment } from "../load/bundled-mesh.ts";
import type { StartProcess } from "../load/processes.ts";
import { untilServed } from "../load/until-served.ts";
import { onCore } from "./cores.ts";
import { NAMESPACE } from "./reviews.ts";
import type { Subject } from "./subject.ts";

const SERVER_NAME = "remora-injector.remora-system.svc";
const CONTROL = "remora-system";
const NAMESPACES = 500;
const NODES = 200;
const READY_MS = 60_000;
const IMAGES_OF_A_NODE = 50;

/** Where the injector comes from and where it runs. */
export interface InjectorOptions {
  /** A bundle: it starts as in the image, with the same options of Node. */
  readonly dist: string;
  readonly folder: string;
  readonly start: StartProcess;
  readonly core: number;
  /** In its environment, besides its settings. */
  readonly env: NodeJS.ProcessEnv;
}

/** Starts both; the stand-in lives in this process and ends with `close`. The injector runs on `core` alone where taskset is. */
export async function startInjectorUnderTest(
  options: InjectorOptions,
): Promise<{ readonly injector: Subject; readonly close: () => Promise<void> }> {
  const { dist, folder, start, core, env } = options;
  const kube = await startKubeApi();
  fill(kube);
  const kubeconfig = join(folder, "kubeconfig");
  await writeFile(kubeconfig, kube.kubeconfig());
  const [port = 0, adminPort = 0] = await freePorts(2);
  const { pid } = await start({
    ...onCore(core, { command: join(dist, "remora"), arguments: ["control"] }),
    env: {
      ...podEnvironment(),
      ...env,
      KUBECONFIG: kubeconfig,
      REMORA_ROLES: "injector",
      REMORA_KUBERNETES: "on",
      REMORA_BIND_ADDRESS: "127.0.0.1",
      REMORA_WEBHOOK_PORT: String(port),
      REMORA_ADMIN_PORT: String(adminPort),
    },
    stdio: ["ignore", "ignore", "inherit"],
  });
  await untilServed({ port: adminPort, path: "/ready", timeoutMs: READY_MS });
  const secret = kube.get("secrets", CONTROL, "remora-injector-tls");
  const { "ca.crt": ca = "" } = (secret?.["data"] ?? {}) as Readonly<Record<string, string>>;
  const injector = { name: "injector", pid, port, caPem: Buffer.from(ca, "base64").toString(), serverName: SERVER_NAME };
  return { injector, close: () => kube.close() };
}

function fill(kube: KubeApi): void {
  const service = { name: "remora-injector", namespace: CONTROL, path: "/inject" };
  kube.put("mutatingwebhookconfigurations", {
    metadata: { name: "remora-injector" },
    webhooks: [{ name: "inject.remora.io", clientConfig: { service } }],
  });
  kube.put("configmaps", { metadata: { name: "remora-trust", namespace: CONTROL }, data: { pin: `sha256:${"a".repeat(64)}` } });
  kube.put("namespaces", { metadata: { name: NAMESPACE, labels: { "remora.io/inject": "enabled" } } });
  for (let index = 0; index < NAMESPACES; index += 1)
    kube.put("namespaces", { metadata: { name: `ns-${index}`, labels: { team: `t-${index}` } } });
  for (let index = 0; index < NODES; index += 1) {
    const images = Array.from({ length: IMAGES_OF_A_NODE }, (_, image) => ({
      names: [`registry.example.com/image-${image}@sha256:${"b".repeat(64)}`],
    }));
    const nodeInfo = { kubeletVersion: "v1.33.2", operatingSystem: "linux" };
    kube.put("nodes", { metadata: { name: `node-${index}` }, spec: {}, status: { nodeInfo, images } });
  }
}

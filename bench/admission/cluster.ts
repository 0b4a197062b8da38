// The cluster that the measured injector sees: a stand-in of the API server with as many namespaces and nodes as a large installation has, and the
// injector itself, `remora control` with that role alone, as in our manifests.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { freePorts } from "../../cli/run/free-ports.ts";
import { type KubeApi, startKubeApi } from "../../test/support/kube-api.ts";
import { findProgram } from "../../test/support/requires.ts";
import type { StartProcess } from "../load/processes.ts";
import { untilServed } from "../load/until-served.ts";
import { NAMESPACE } from "./reviews.ts";

const MAIN = fileURLToPath(new URL("../../cli/main.ts", import.meta.url));
const CONTROL = "remora-system";
const NAMESPACES = 500;
const NODES = 200;
const READY_MS = 60_000;
const IMAGES_OF_A_NODE = 50;

/** A running injector. */
export interface MeasuredInjector {
  readonly pid: number;
  readonly webhookPort: number;
  readonly adminPort: number;
  /** What its certificate chains to. */
  readonly caPem: string;
}

/** Starts both; the stand-in lives in this process and ends with `close`. The injector runs on `core` alone where taskset is. */
export async function startInjectorUnderTest(
  folder: string,
  start: StartProcess,
  core: number,
): Promise<{ readonly injector: MeasuredInjector; readonly close: () => Promise<void> }> {
  const kube = await startKubeApi();
  fill(kube);
  const kubeconfig = join(folder, "kubeconfig");
  await writeFile(kubeconfig, kube.kubeconfig());
  const [webhookPort = 0, adminPort = 0] = await freePorts(2);
  const taskset = findProgram("taskset");
  const command = [...(taskset === null ? [] : [taskset, "-c", String(core)]), process.execPath, MAIN, "control"];
  const { pid } = await start({
    command: command[0] ?? "",
    arguments: command.slice(1),
    env: {
      PATH: process.env["PATH"] ?? "",
      KUBECONFIG: kubeconfig,
      REMORA_ROLES: "injector",
      REMORA_KUBERNETES: "on",
      REMORA_BIND_ADDRESS: "127.0.0.1",
      REMORA_WEBHOOK_PORT: String(webhookPort),
      REMORA_ADMIN_PORT: String(adminPort),
    },
    stdio: ["ignore", "ignore", "inherit"],
  });
  await untilServed({ port: adminPort, path: "/ready", timeoutMs: READY_MS });
  const secret = kube.get("secrets", CONTROL, "remora-injector-tls");
  const { "ca.crt": ca = "" } = (secret?.["data"] ?? {}) as Readonly<Record<string, string>>;
  return { injector: { pid, webhookPort, adminPort, caPem: Buffer.from(ca, "base64").toString() }, close: () => kube.close() };
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

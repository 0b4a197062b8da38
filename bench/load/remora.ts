// Remora as it is shipped (the bundle) or from the checkout: a control plane and two sidecars in explicit capture, `web` calling `orders`.
import { randomUUID } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { bundle } from "../../bin/bundle.ts";
import type { Child } from "../../cli/run/child.ts";
import { freePorts } from "../../cli/run/free-ports.ts";
import { sidecarEnv, type Workload } from "../../cli/run/workload.ts";
import { makeToken } from "../../cli/token-command.ts";
import type { StartContender } from "./contender.ts";
import { untilServed } from "./until-served.ts";

const READY_TIMEOUT_MS = 30_000;
const TOKEN_TTL_MS = 60_000;
const SOURCES = join(import.meta.dirname, "..", "..", "cli", "main.ts");

/** What the contender runs. */
export interface RemoraOptions {
  readonly name: string;
  /** True: the bundle, as in the image; false: the sources, by type stripping. */
  readonly bundled: boolean;
  /** Settings of both sidecars over the defaults. */
  readonly settings: Readonly<Record<string, string>>;
}

/** Makes a contender. */
export function remora({ name, bundled, settings }: RemoraOptions): StartContender {
  return async ({ originPort, folder, start }) => {
    const dist = join(folder, "dist");
    if (bundled) await bundle({ outDir: dist });
    const program = bundled ? join(dist, "remora.mjs") : SOURCES;
    const env = Object.fromEntries(Object.entries(process.env).filter(([variable]) => !variable.startsWith("REMORA_")));
    const run = (word: string, own: NodeJS.ProcessEnv): Promise<Child> =>
      start({
        command: process.execPath,
        arguments: ["--disable-warning=DEP0060", "--disable-warning=DEP0169", program, word],
        env: own,
        stdio: ["ignore", "ignore", "inherit"],
      });

    const stateDir = join(folder, "control");
    const [grpcPort = 0, controlAdminPort = 0, ...ports] = await freePorts(8);
    await run("control", {
      ...env,
      REMORA_STATE_DIR: stateDir,
      REMORA_GRPC_PORT: String(grpcPort),
      REMORA_ADMIN_PORT: String(controlAdminPort),
      REMORA_KUBERNETES: "off",
    });
    await untilServed({ port: controlAdminPort, path: "/ready", timeoutMs: READY_TIMEOUT_MS });

    const startSidecar = async (service: string, appPort: number | null) => {
      const [outboundPort = 0, inboundPort = 0, adminPort = 0] = ports.splice(0, 3);
      const own = join(folder, service);
      await mkdir(own, { mode: 0o700, recursive: true });
      const workload: Workload = {
        service,
        namespace: "default",
        instanceId: randomUUID(),
        appPort,
        protocol: "http1",
        controlAddress: `127.0.0.1:${grpcPort}`,
        joinToken: await makeToken({ stateDir, namespace: "default", serviceAccount: service, ttlMs: TOKEN_TTL_MS, purpose: "join" }),
        stateDir: own,
        outboundPort,
        inboundPort,
        adminPort,
        address: "127.0.0.1",
        settings,
      };
      const startedMonoMs = performance.now();
      const child = await run("sidecar", sidecarEnv(workload, env));
      await untilServed({ port: adminPort, path: "/ready", timeoutMs: READY_TIMEOUT_MS });
      return { pid: child.pid, outboundPort, startMs: performance.now() - startedMonoMs };
    };
    const orders = await startSidecar("orders", originPort);
    const web = await startSidecar("web", null);
    await untilServed({ port: web.outboundPort, host: "orders", timeoutMs: READY_TIMEOUT_MS });
    return {
      name,
      url: `http://127.0.0.1:${web.outboundPort}/`,
      host: "orders",
      hops: [web.pid, orders.pid],
      startMs: Math.max(web.startMs, orders.startMs),
    };
  };
}

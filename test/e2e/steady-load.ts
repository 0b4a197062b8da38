// A steady load through the mesh while something is done to it, and what the registry knows meanwhile.
import type { Test } from "tap";
import type { Cluster } from "./cluster.ts";

const RATE_PER_S = 50;

export interface Load {
  /** Waits for the end of the load, tells the figures and checks that nothing failed. */
  finish(): Promise<void>;
}

/** Requests from the pod of `shop/client` to the Service `shop/web`, 50 a second for `seconds`. Resolves once the first ones, which are not counted, are answered. */
export async function startLoad(t: Test, cluster: Cluster, what: string, seconds: number): Promise<Load> {
  const url = `http://${cluster.address("shop/web").ipv4}:8000/`;
  // What is done next may keep the caller's sidecar from learning of the destination at all.
  await cluster.runApp(cluster.pod("shop/client"), "load-client", [url, "5", "1"], { timeoutMs: 20_000 });
  const args = [url, String(RATE_PER_S), String(seconds)];
  const running = cluster.runApp(cluster.pod("shop/client"), "load-client", args, { timeoutMs: (seconds + 10) * 1000 });
  return {
    async finish() {
      const { stdout, stderr } = await running;
      const lines = stdout.trim().split("\n");
      const last = lines.at(-1) ?? "";
      const counts = JSON.parse(last.startsWith("{") ? last : "{}") as { sent?: number; failed?: number; slowestMs?: number };
      t.comment(`${what}: ${counts.sent} requests sent at ${RATE_PER_S}/s, ${counts.failed} failed, slowest ${counts.slowestMs} ms`);
      t.ok((counts.sent ?? 0) > RATE_PER_S * seconds * 0.5, `the load was steady: ${counts.sent} requests ${stderr}`);
      t.equal(counts.failed, 0, lines.slice(0, 5).join("\n"));
    },
  };
}

/** Ids of the instances that the control plane on `adminPort` knows; none while it is away. */
export async function instanceIds(cluster: Cluster, adminPort: number): Promise<readonly string[]> {
  const control = cluster.controls.find((candidate) => candidate.adminPort === adminPort && candidate.isRunning());
  const answer = (await control?.api("/api/v1/instances")) as { instances: readonly { instanceId: string }[] } | undefined;
  return answer?.instances.map(({ instanceId }) => instanceId) ?? [];
}

export function pause(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}

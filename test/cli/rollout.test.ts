// `remora rollout` against the stand-in for the Kubernetes API: what its words mean, what it refuses, and its exit codes. Rollouts with real parts are in
// test/cluster/rollout.test.ts.
import { writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import t, { type Test } from "tap";
import { parsePlatform } from "../../injector/platform/platform.ts";
import { type KubeApi, startKubeApi } from "../support/kube-api.ts";
import { ranRemora, temporaryFolder } from "./remora.ts";

const PLATFORM = "channels: { stable: 1.4.0, canary: 1.4.0 }\n";

interface Mesh {
  readonly kube: KubeApi;
  readonly run: (...words: readonly string[]) => Promise<{ readonly code: number | null; readonly text: string }>;
  readonly platform: () => ReturnType<typeof parsePlatform>;
}

async function startMesh(t: Test, text = PLATFORM): Promise<Mesh> {
  const kube = await startKubeApi();
  t.teardown(() => kube.close());
  const registry = await startRegistry(t);
  const kubeconfig = join(temporaryFolder(t), "kubeconfig");
  writeFileSync(kubeconfig, kube.kubeconfig());
  kube.put("configmaps", {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "remora-platform", namespace: "remora-system" },
    data: { "platform.yaml": text },
  });
  return {
    kube,
    run: (...words) => ranRemora(t, ["rollout", ...words, "--kubeconfig", kubeconfig, "--registry", registry]),
    platform() {
      const { data } = kube.get("configmaps", "remora-system", "remora-platform") as unknown as { readonly data: Record<string, string> };
      return parsePlatform(data["platform.yaml"] ?? "");
    },
  };
}

/** A registry that knows nobody. */
async function startRegistry(t: Test): Promise<string> {
  const server: Server = createServer(
    (_request, response) => void response.end(JSON.stringify({ instances: [], total: 0, degraded: false })),
  );
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  t.teardown(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

t.test("set, promote and abort edit the file, and say what they did", async (t) => {
  const { run, platform } = await startMesh(t);
  t.match(await run("set", "canary=1.5.0", "--percent", "10"), { code: 0, text: "10 % of channel canary move from 1.4.0 to 1.5.0" });
  t.match(platform().rollout, { channel: "canary", to: "1.5.0", percent: 10 });
  t.match(await run("set", "stable=1.5.0"), { code: 1, text: /the rollout of canary from 1.4.0 to 1.5.0 is under way/ });
  t.match(await run("promote", "--to", "stable", "--percent", "5%"), {
    code: 0,
    text: /canary has version 1.5.0 now.*5 % of channel stable move from 1.4.0 to 1.5.0/,
  });
  t.match(platform().rollout, { channel: "stable", percent: 5 });
  t.match(await run("abort"), { code: 0, text: "channel stable is back at 1.4.0" });
  t.match(await run("abort"), { code: 1, text: /no rollout is under way/ });
  t.match(await run("set", "shop/deployment/web", "canary"), { code: 0, text: "deployment/web in namespace shop follows canary" });
  t.match(await run("set", "shop/deployment/web", "--remove"), { code: 0 });
  t.same(platform().assignments, []);
});

t.test("what is asked for wrongly is said, and changes nothing", async (t) => {
  const { run, kube } = await startMesh(t);
  const before = kube.get("configmaps", "remora-system", "remora-platform")?.metadata.resourceVersion;
  const wrong = [
    [["set", "canary=five"], /1\.4\.0|version/],
    [["set", "shop"], /say CHANNEL=VERSION/],
    [["set", "shop/thing/web", "canary"], /no kind of workload/],
    [["set", "shop/deployment", "canary"], /neither NAMESPACE nor/],
    [["set", "shop", "nightly"], /there is no channel "nightly"/],
    [["set", "canary=1.5.0", "--percent", "110"], /percent/],
    [["restart", "--pace", "fast"], /5\/min/],
    [["restart", "--max-unavailable", "0"], /whole number/],
  ] as const;
  await Promise.all(
    wrong.map(async ([words, message]) => {
      const { code, text } = await run(...words);
      t.ok(code === 1 || code === 2, `${words.join(" ")} ends with ${code}`);
      t.match(text, message);
    }),
  );
  t.equal(kube.get("configmaps", "remora-system", "remora-platform")?.metadata.resourceVersion, before);
});

t.test("a halted rollout shows in every command and its exit code", async (t) => {
  const halted =
    "rollout: { channel: stable, from: 1.4.0, to: 1.5.0, percent: 10%, halted: { at: 2026-01-01T00:00:00Z, why: it was worse } }\n";
  const { run } = await startMesh(t, PLATFORM + halted);
  t.match(await run("status"), { code: 3, text: /HALTED 2026-01-01T00:00:00Z: it was worse/ });
  t.match(await run("restart"), { code: 3, text: /HALTED: it was worse/ });
  t.match(await run("restart", "--dry-run", "-o", "json"), { code: 3 });
  t.match(await run("promote"), { code: 1, text: /is halted: it was worse/ });
  t.match(await run("set", "stable=1.5.0", "--percent", "20", "--resume"), { code: 0, text: /goes on though it was halted/ });
  t.match(await run("status"), { code: 0 });
});

t.test("a conflict is a clear message, and a file with mistakes is not touched", async (t) => {
  const { run, kube } = await startMesh(t);
  kube.failNext(409, 1, ({ verb, resource }) => verb === "update" && resource === "configmaps");
  t.match(await run("set", "canary=1.5.0"), { code: 1, text: /changed by somebody else at the same time; look at it and say it again/ });
  const broken = await startMesh(t, "chanels: {}\n");
  t.match(await broken.run("set", "canary=1.5.0"), { code: 1, text: /did you mean channels/ });
});

t.test("without a registry nothing is restarted, and it is said why", async (t) => {
  const { kube } = await startMesh(t);
  const kubeconfig = join(temporaryFolder(t), "kubeconfig");
  writeFileSync(kubeconfig, kube.kubeconfig());
  t.match(await ranRemora(t, ["rollout", "status", "--kubeconfig", kubeconfig]), {
    code: 1,
    text: /no registry answers: no replica is known/,
  });
});

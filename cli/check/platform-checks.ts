// Whether the cluster follows what the platform team decided in ConfigMap remora-platform, and whether namespaces say things that can be meant.
import { readAnnotations } from "../../injector/annotations/annotations.ts";
import { versionFor } from "../../injector/platform/channels.ts";
import { defaultPlatform, type Platform, PLATFORM_CONFIG_MAP, PLATFORM_KEY, parsePlatform } from "../../injector/platform/platform.ts";
import { readPodFacts } from "../../injector/rollout/pod-facts.ts";
import { type Check, failed, ok } from "./check.ts";
import { type Cluster, livingPods } from "./cluster.ts";
import { at, listAt, nameOf, some, textAt } from "./json.ts";
import { restartCommands } from "./restart.ts";

/** In the order of their output. */
export const platformChecks: readonly Check[] = [
  {
    id: "namespace-annotations",
    category: "Workloads",
    title: "every remora.io annotation of a namespace can be understood",
    severity: "error",
    when: "after",
    doc: "They are the defaults of its pods: with a mistake in them each new pod is refused.",
    needs: ["api-reachable"],
    async look({ list }) {
      const wrong = (await list("/api/v1/namespaces")).flatMap((one) => {
        const annotations = at(one, "metadata", "annotations") as Readonly<Record<string, string>> | undefined; // texts, says the API
        const { mistakes } = readAnnotations(annotations, `namespace ${nameOf(one)}, `);
        return mistakes.map((mistake) => ({ namespace: nameOf(one), mistake }));
      });
      const [first] = wrong;
      if (first === undefined) return ok();
      const name = /remora\.io\/[a-z-]+/.exec(first.mistake)?.[0] ?? "";
      return failed(some(wrong.map(({ mistake }) => mistake)), `kubectl annotate namespace ${first.namespace} ${name}-`);
    },
  },
  {
    id: "channel-versions",
    category: "Workloads",
    title: "every sidecar is of the version that its channel has",
    severity: "warning",
    when: "after",
    doc: "A pod keeps the sidecar that it was made with; a channel that has moved on reaches it when it restarts.",
    needs: ["platform"],
    async look(cluster) {
      const platform = await readPlatform(cluster);
      if (platform.channels.size === 0) return ok("there are no channels");
      const behind = (await livingPods(cluster)).flatMap((object) => {
        const pod = readPodFacts(object);
        if (pod === null || pod.version === null || pod.hasOwnImage) return [];
        const { channel, version } = versionFor(platform, pod.owner, pod.askedChannel);
        return version === null || version === pod.version ? [] : [{ pod, channel, version }];
      });
      const [first] = behind;
      if (first === undefined) return ok();
      const named = behind.map(({ pod, channel, version }) => `${pod.namespace}/${pod.name} (${pod.version}, ${channel} is ${version})`);
      return failed(some(named), restartCommands([first.pod.owner, ...behind.map(({ pod }) => pod.owner)]));
    },
  },
  {
    id: "opt-out-guarded",
    category: "Webhook",
    title: "who may not opt out cannot do so while no injector answers",
    severity: "warning",
    when: "after",
    doc: "The base lets pods that opt out pass while it is away; a platform that forbids it wants them to wait.",
    needs: ["platform", "webhook-validating"],
    async look(cluster) {
      const { enforced } = await readPlatform(cluster);
      if (enforced.optOut.forbiddenIn.length === 0) return ok("everybody may opt out");
      const found = await cluster.get("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/remora-injector");
      const guard = listAt(found, "webhooks").find((one) => textAt(one, "name") === "opt-out.remora.io");
      if (textAt(guard, "failurePolicy") === "Fail") return ok();
      return failed("the webhook opt-out.remora.io is ignored when nobody answers", "kubectl apply -k manifests/overlays/no-opt-out");
    },
  },
];

/** What holds: the file was looked at by another check. */
async function readPlatform({ get, controlNamespace }: Cluster): Promise<Platform> {
  const found = await get(`/api/v1/namespaces/${controlNamespace}/configmaps/${PLATFORM_CONFIG_MAP}`);
  return found === null ? defaultPlatform : parsePlatform(textAt(found, "data", PLATFORM_KEY));
}

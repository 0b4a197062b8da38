// The control plane's own pods, and what its ConfigMap says.
import { parsePlatform, PLATFORM_CONFIG_MAP, PLATFORM_KEY } from "../../injector/platform/platform.ts";
import { type Check, failed, ok, unknown } from "./check.ts";
import { type Cluster, deployment, livingPods, replicasOf, secret, variables } from "./cluster.ts";
import { type ApiObject, at, listAt, nameOf, namespaceOf, numberAt, some, textAt } from "./json.ts";

const DEPLOYMENTS = ["remora-control", "remora-injector"] as const;
/** With certificates and signatures in mind, which allow 20 s (design 7 and 9). */
const MOST_SKEW_MS = 5_000;
const MANY_RESTARTS = 5;
const RESTART_WITHIN_MS = 60 * 60_000;

/** In the order of their output. */
export const controlChecks: readonly Check[] = [
  {
    id: "namespace",
    category: "Control plane",
    title: "the control plane's namespace is there",
    severity: "error",
    when: "after",
    doc: "Everything of the control plane lives in it. `-n` names another one.",
    needs: ["api-reachable"],
    async look({ get, controlNamespace }) {
      if ((await get(`/api/v1/namespaces/${controlNamespace}`)) !== null) return ok(controlNamespace);
      return failed(`there is no namespace ${controlNamespace}`, installCommand(controlNamespace));
    },
  },
  ...DEPLOYMENTS.flatMap((name): readonly Check[] => [available(name), answering(name)]),
  {
    id: "injector-replicas",
    category: "Control plane",
    title: "the injector has at least two replicas",
    severity: "warning",
    when: "after",
    doc: "While none answers, no pod of an opted-in namespace starts.",
    needs: ["namespace"],
    async look(cluster) {
      const found = await deployment(cluster, "remora-injector");
      if (found === null) return unknown("there is no Deployment remora-injector");
      if (replicasOf(found) >= 2) return ok(`${replicasOf(found)}`);
      return failed(`it has ${replicasOf(found)}`, `kubectl -n ${cluster.controlNamespace} scale deployment/remora-injector --replicas=2`);
    },
  },
  {
    id: "disruption-budget",
    category: "Control plane",
    title: "a disruption budget keeps an injector while nodes are drained",
    severity: "warning",
    when: "after",
    doc: "Without it a drain may take all replicas at once.",
    needs: ["namespace"],
    async look({ get, controlNamespace }) {
      const found = await get(`/apis/policy/v1/namespaces/${controlNamespace}/poddisruptionbudgets/remora-injector`);
      return found === null ? failed("there is none", installCommand(controlNamespace)) : ok();
    },
  },
  {
    id: "same-images",
    category: "Control plane",
    title: "the control plane and new sidecars are of one image",
    severity: "warning",
    when: "after",
    doc: "Versions up to two apart understand each other; staying apart is seldom meant.",
    needs: ["namespace"],
    async look(cluster) {
      const objects = await Promise.all(DEPLOYMENTS.map((name) => deployment(cluster, name)));
      const images = objects.flatMap((object) =>
        listAt(object, "spec", "template", "spec", "containers").map((one) => textAt(one, "image")),
      );
      const sidecar = variables(objects[1] ?? null)["REMORA_SIDECAR_IMAGE"] ?? "";
      const all = [...new Set([...images, ...(sidecar === "" ? [] : [sidecar])])];
      if (all.length <= 1) return ok(all[0]);
      return failed(
        `there are ${some(all)}`,
        `${installPrefix(cluster.controlNamespace)} --set image=${images[0] ?? ""} | kubectl apply -f -`,
      );
    },
  },
  {
    id: "control-restarts",
    category: "Control plane",
    title: "no pod of the control plane keeps restarting",
    severity: "warning",
    when: "after",
    doc: "Memory limits, probes and lost dependencies show like this.",
    needs: ["namespace"],
    async look(cluster) {
      const restless = (await ownPods(cluster)).filter((pod) =>
        listAt(pod, "status", "containerStatuses").some((one) => {
          const endedMs = Date.parse(textAt(one, "lastState", "terminated", "finishedAt"));
          const isRecent = cluster.nowMs() - endedMs < RESTART_WITHIN_MS;
          return (
            (numberAt(one, "restartCount") >= MANY_RESTARTS && isRecent) || textAt(one, "state", "waiting", "reason") === "CrashLoopBackOff"
          );
        }),
      );
      const [first] = restless;
      if (first === undefined) return ok();
      return failed(`${some(restless.map(nameOf))}`, `kubectl -n ${cluster.controlNamespace} logs ${nameOf(first)} --previous`);
    },
  },
  {
    id: "control-clocks",
    category: "Control plane",
    title: "the clocks of the control plane's nodes agree with the API server's",
    severity: "warning",
    when: "after",
    doc: "Certificates are issued with these clocks.",
    needs: ["available-remora-control"],
    async look(cluster) {
      const { api, controlNamespace } = cluster;
      const pods = (await ownPods(cluster)).filter((pod) => textAt(pod, "status", "phase") === "Running");
      const wrong: string[] = [];
      let asked = 0;
      for (const pod of pods) {
        const startedMs = cluster.nowMs();
        const own = await api
          .call("GET", `/api/v1/namespaces/${controlNamespace}/pods/${nameOf(pod)}:15014/proxy/api/v1/info`)
          .catch(() => null);
        const api_ = await api.call("GET", "/version");
        if (own === null || own.status !== 200 || own.dateMs === null || api_.dateMs === null) continue;
        asked += 1;
        const skewMs = Math.abs(own.dateMs - api_.dateMs) - (cluster.nowMs() - startedMs) - 1000; // whole seconds in both
        if (skewMs > MOST_SKEW_MS) wrong.push(`${nameOf(pod)} on ${textAt(pod, "spec", "nodeName")} by ${Math.round(skewMs / 1000)} s`);
      }
      if (asked === 0) return unknown("no pod of the control plane could be asked through the API server");
      return wrong.length === 0 ? ok(`${asked} pods`) : failed(some(wrong), "timedatectl set-ntp true    # on that node");
    },
  },
  {
    id: "platform",
    category: "Control plane",
    title: `the ConfigMap ${PLATFORM_CONFIG_MAP} can be understood`,
    severity: "error",
    when: "after",
    doc: "While it cannot, what it said before holds, and an injector that starts refuses pods.",
    needs: ["namespace"],
    async look({ get, controlNamespace }) {
      const found = await get(`/api/v1/namespaces/${controlNamespace}/configmaps/${PLATFORM_CONFIG_MAP}`);
      if (found === null) return ok("there is none: nothing is enforced");
      try {
        parsePlatform(textAt(found, "data", PLATFORM_KEY));
        return ok();
      } catch (error) {
        return failed((error as Error).message, `kubectl -n ${controlNamespace} edit configmap ${PLATFORM_CONFIG_MAP}`);
      }
    },
  },
  {
    id: "redis-configured",
    category: "Control plane",
    title: "replicas of the registry share a store",
    severity: "error",
    when: "after",
    doc: "Two registries that do not share a store each know half of the mesh.",
    needs: ["namespace"],
    async look(cluster) {
      const found = await deployment(cluster, "remora-control");
      if (found === null) return unknown("there is no Deployment remora-control");
      if (variables(found)["REMORA_STORE"] !== "redis") {
        if (replicasOf(found) <= 1) return ok("one replica, in memory");
        return failed(
          `${replicasOf(found)} replicas keep leases in their own memory`,
          `kubectl -n ${cluster.controlNamespace} scale deployment/remora-control --replicas=1`,
        );
      }
      const [container] = listAt(found, "spec", "template", "spec", "containers");
      const source = at(
        listAt(container, "env").find((one) => textAt(one, "name") === "REMORA_REDIS_URL"),
        "valueFrom",
        "secretKeyRef",
      );
      const [name, key] = [textAt(source, "name"), textAt(source, "key")];
      if (name === "") return ok("Redis, with its address in the Deployment");
      if (textAt(await secret(cluster, name), "data", key) !== "") return ok(`Redis, from Secret ${name}`);
      return failed(
        `there is no key ${key} in a Secret ${name}`,
        `kubectl -n ${cluster.controlNamespace} create secret generic ${name} --from-literal=${key}='rediss://:PASSWORD@HOST:6379/0'`,
      );
    },
  },
];

/** Prints the objects of this installation as they should be, and applies them: what is missing or was edited comes back. */
export function installCommand(namespace: string): string {
  return `${installPrefix(namespace)} | kubectl apply -f -`;
}

function installPrefix(namespace: string): string {
  return `remora install${namespace === "remora-system" ? "" : ` --set namespace=${namespace}`}`;
}

async function ownPods(cluster: Cluster): Promise<readonly ApiObject[]> {
  return (await livingPods(cluster)).filter(
    (pod) => namespaceOf(pod) === cluster.controlNamespace && textAt(pod, "metadata", "labels", "app.kubernetes.io/part-of") === "remora",
  );
}

function available(name: string): Check {
  return {
    id: `available-${name}`,
    category: "Control plane",
    title: `Deployment ${name} is there and available`,
    severity: "error",
    when: "after",
    doc: name === "remora-injector" ? "It serves the webhook." : "It is the CA and the registry.",
    needs: ["namespace"],
    async look(cluster) {
      const found = await deployment(cluster, name);
      if (found === null) return failed("it is not there", installCommand(cluster.controlNamespace));
      const [wanted, have] = [replicasOf(found), numberAt(found, "status", "availableReplicas")];
      if (wanted === 0)
        return failed(
          "it is scaled to 0",
          `kubectl -n ${cluster.controlNamespace} scale deployment/${name} --replicas=${name === "remora-injector" ? 2 : 1}`,
        );
      if (have >= wanted) return ok(`${have} of ${wanted}`);
      return failed(
        `${have} of ${wanted} replicas are available`,
        `kubectl -n ${cluster.controlNamespace} describe pods -l app.kubernetes.io/component=${name.slice("remora-".length)}`,
      );
    },
  };
}

function answering(name: string): Check {
  return {
    id: `endpoints-${name}`,
    category: "Control plane",
    title: `Service ${name} has endpoints that are ready`,
    severity: "error",
    when: "after",
    doc: name === "remora-injector" ? "Without any, no pod of an opted-in namespace starts." : "Sidecars get their certificates there.",
    needs: ["namespace"],
    async look({ get, list, controlNamespace }) {
      if ((await get(`/api/v1/namespaces/${controlNamespace}/services/${name}`)) === null)
        return failed("there is no such Service", installCommand(controlNamespace));
      const slices = await list(`/apis/discovery.k8s.io/v1/namespaces/${controlNamespace}/endpointslices`);
      const endpoints = slices
        .filter((slice) => textAt(slice, "metadata", "labels", "kubernetes.io/service-name") === name)
        .flatMap((slice) => listAt(slice, "endpoints"));
      const ready = endpoints.filter((endpoint) => at(endpoint, "conditions", "ready") !== false);
      if (ready.length > 0) return ok(`${ready.length}`);
      const why = endpoints.length === 0 ? "it has no endpoint" : `none of its ${endpoints.length} endpoints is ready`;
      return failed(why, `kubectl -n ${controlNamespace} rollout restart deployment/${name}`);
    },
  };
}

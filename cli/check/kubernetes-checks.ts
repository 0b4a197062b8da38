// What Remora asks of a cluster, whether it is installed or not.
import { type Check, failed, ok } from "./check.ts";
import { listAt, nameOf, some, textAt, textsAt } from "./json.ts";

/** Restarting init containers are on by default from here on, and match conditions of webhooks from 1.28. */
const OLDEST_MINOR = 29;
/** Signatures allow 20 s (design 9); a person should hear of it before. */
const MOST_SKEW_MS = 10_000;

/** In the order of their output. */
export const kubernetesChecks: readonly Check[] = [
  {
    id: "api-reachable",
    category: "Kubernetes",
    title: "the API server answers",
    severity: "error",
    when: "both",
    doc: "Nothing else can be looked at without it.",
    async look({ get, api }) {
      const version = await get("/version");
      return version === null ? failed(`${api.server} has no /version`, "kubectl cluster-info") : ok(textAt(version, "gitVersion"));
    },
  },
  {
    id: "api-version",
    category: "Kubernetes",
    title: `the API server is of version 1.${OLDEST_MINOR} or later`,
    severity: "error",
    when: "both",
    doc: "Earlier ones have no native sidecars or no match conditions, which the manifests use.",
    needs: ["api-reachable"],
    async look({ get }) {
      const version = textAt(await get("/version"), "gitVersion");
      const minor = minorOf(version);
      if (minor !== null && minor >= OLDEST_MINOR) return ok(version);
      return failed(`it is ${version}`, `upgrade the control plane of Kubernetes to 1.${OLDEST_MINOR} or later`);
    },
  },
  apiGroup("admission-api", "admissionregistration.k8s.io", "the webhooks are registered through it"),
  apiGroup("token-review-api", "authentication.k8s.io", "the CA asks it whose a service-account token is"),
  apiGroup("endpoint-slice-api", "discovery.k8s.io", "the registry learns from it who serves what"),
  {
    id: "clock-here",
    category: "Kubernetes",
    title: "this machine's clock agrees with the API server's",
    severity: "warning",
    when: "both",
    doc: "Days left are counted with this clock; a laptop that joins the mesh needs it for certificates and signatures.",
    needs: ["api-reachable"],
    async look({ api, nowMs }) {
      const before = nowMs();
      const { dateMs } = await api.call("GET", "/version");
      if (dateMs === null) return { result: "unknown", why: "the API server sends no Date header" };
      // The header has whole seconds, and was written between the two readings.
      const skewMs = Math.max(dateMs - nowMs(), before - (dateMs + 1000), 0);
      return skewMs <= MOST_SKEW_MS ? ok() : failed(`they differ by ${Math.round(skewMs / 1000)} s`, "timedatectl set-ntp true");
    },
  },
  {
    id: "kubelets",
    category: "Kubernetes",
    title: `every kubelet is of version 1.${OLDEST_MINOR} or later`,
    severity: "warning",
    when: "both",
    doc: "Older kubelets know no native sidecars: Jobs do not complete and pods start in no order. The injector falls back to plain containers for the whole cluster.",
    needs: ["api-reachable"],
    async look({ list }) {
      const nodes = (await list("/api/v1/nodes")).filter((node) => textAt(node, "status", "nodeInfo", "operatingSystem") !== "windows");
      const old = nodes.filter((node) => (minorOf(textAt(node, "status", "nodeInfo", "kubeletVersion")) ?? 0) < OLDEST_MINOR);
      if (old.length === 0) return ok(`${nodes.length} nodes`);
      const named = old.map((node) => `${nameOf(node)} (${textAt(node, "status", "nodeInfo", "kubeletVersion")})`);
      return failed(
        `${some(named)} ${old.length === 1 ? "is" : "are"} older`,
        `upgrade them; until then: kubectl cordon ${old.map(nameOf).join(" ")}`,
      );
    },
  },
];

function apiGroup(id: string, group: string, why: string): Check {
  return {
    id,
    category: "Kubernetes",
    title: `the API server offers ${group}/v1`,
    severity: "error",
    when: "both",
    doc: `Needed because ${why}.`,
    needs: ["api-reachable"],
    async look({ get }) {
      const found = await get(`/apis/${group}/v1`);
      if (listAt(found, "resources").length > 0 || textsAt(found, "resources").length > 0) return ok();
      return failed("it does not", `start kube-apiserver without disabling ${group}/v1 in --runtime-config`);
    },
  };
}

/** 31 of "v1.31.2+k3s1"; null for what is no version 1. */
export function minorOf(version: string): number | null {
  const minor = /^v?1\.(\d+)/.exec(version)?.[1];
  return minor === undefined ? null : Number(minor);
}

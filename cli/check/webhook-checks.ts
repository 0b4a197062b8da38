// The webhook configurations as the API server has them, compared with those that are shipped, and one pod that is really shown to the webhook.
import { isDeepStrictEqual } from "node:util";
import { SIDECAR_CONTAINER } from "../../injector/pod/names.ts";
import { type Check, failed, type Finding, ok, unknown } from "./check.ts";
import { type Cluster, secret } from "./cluster.ts";
import { installCommand } from "./control-checks.ts";
import { type ApiObject, at, listAt, nameOf, some, textAt } from "./json.ts";

const NAME = "remora-injector";
const TLS_SECRET = "remora-injector-tls";

type Sort = "mutating" | "validating";
const KIND: Readonly<Record<Sort, string>> = { mutating: "MutatingWebhookConfiguration", validating: "ValidatingWebhookConfiguration" };

/** In the order of their output. */
export const webhookChecks: readonly Check[] = [
  ...(["mutating", "validating"] as const).flatMap((sort): readonly Check[] => [isThere(sort), isAsShipped(sort), isBelieved(sort)]),
  {
    id: "webhook-policy",
    category: "Webhook",
    title: "each webhook fails as it should when nobody answers",
    severity: "error",
    when: "after",
    doc: "Ignored, pods of opted-in namespaces start without a sidecar; failing where they should not, other namespaces depend on the injector.",
    needs: ["webhook-mutating"],
    async look(cluster) {
      const changed = await different(cluster, "mutating", ["failurePolicy"]);
      return changed.length === 0
        ? ok()
        : failed(`failurePolicy was changed in ${some(changed)}`, installCommand(cluster.controlNamespace));
    },
  },
  {
    id: "webhook-service",
    category: "Webhook",
    title: "every webhook calls the injector of this installation",
    severity: "error",
    when: "after",
    doc: "A call to another Service is answered by somebody else, or by nobody.",
    needs: ["webhook-mutating"],
    async look(cluster) {
      const changed = [
        ...(await different(cluster, "mutating", ["clientConfig", "service"])),
        ...(await different(cluster, "validating", ["clientConfig", "service"])),
      ];
      return changed.length === 0 ? ok() : failed(`${some(changed)} call another Service`, installCommand(cluster.controlNamespace));
    },
  },
  {
    id: "webhook-answers",
    category: "Webhook",
    title: "the API server gets a sidecar for a pod that asks for one",
    severity: "error",
    when: "after",
    doc: "A dry run, so nothing is made. It proves the way from the API server to the webhook: network, certificate, answer.",
    needs: ["webhook-mutating"],
    look: askForSidecar,
  },
];

async function configuration({ get }: Cluster, sort: Sort): Promise<ApiObject | null> {
  return get(`/apis/admissionregistration.k8s.io/v1/${sort}webhookconfigurations/${NAME}`);
}

function shippedWebhooks({ shipped }: Cluster, sort: Sort): readonly ApiObject[] {
  return listAt(
    shipped.find((object) => textAt(object, "kind") === KIND[sort] && nameOf(object) === NAME),
    "webhooks",
  );
}

/** Names of the webhooks in which the value at `path` is not the shipped one. What is not there at all is another check's. */
async function different(cluster: Cluster, sort: Sort, path: readonly string[]): Promise<readonly string[]> {
  const stored = listAt(await configuration(cluster, sort), "webhooks");
  return shippedWebhooks(cluster, sort).flatMap((webhook) => {
    const name = textAt(webhook, "name");
    const found = stored.find((one) => textAt(one, "name") === name);
    return found === undefined || isDeepStrictEqual(plain(at(found, ...path)), plain(at(webhook, ...path))) ? [] : [name];
  });
}

/** Without what the API server fills in: empty selectors, and nothing where there was nothing. */
function plain(value: unknown): unknown {
  return value === undefined ? {} : value;
}

function isThere(sort: Sort): Check {
  return {
    id: `webhook-${sort}`,
    category: "Webhook",
    title: `the ${KIND[sort]} is there and whole`,
    severity: sort === "mutating" ? "error" : "warning",
    when: "after",
    doc:
      sort === "mutating"
        ? "Without it no pod gets a sidecar."
        : "Without it a bad annotation is found when pods are made, not when it is applied.",
    needs: ["namespace"],
    async look(cluster) {
      const found = await configuration(cluster, sort);
      if (found === null) return failed(`there is no ${KIND[sort]} ${NAME}`, installCommand(cluster.controlNamespace));
      const names = listAt(found, "webhooks").map((one) => textAt(one, "name"));
      const missing = shippedWebhooks(cluster, sort).filter((one) => !names.includes(textAt(one, "name")));
      if (missing.length === 0) return ok(`${names.length} webhooks`);
      return failed(`it lacks ${some(missing.map((one) => textAt(one, "name")))}`, installCommand(cluster.controlNamespace));
    },
  };
}

function isAsShipped(sort: Sort): Check {
  return {
    id: `webhook-${sort}-selectors`,
    category: "Webhook",
    title: `what the ${sort} webhook is shown is what it was made for`,
    severity: sort === "mutating" ? "error" : "warning",
    when: "after",
    doc: "An edited selector leaves pods without a sidecar, or makes kube-system depend on the injector.",
    needs: [`webhook-${sort}`],
    async look(cluster) {
      const changed: string[] = [];
      for (const field of ["namespaceSelector", "objectSelector", "rules", "matchConditions"])
        changed.push(...(await different(cluster, sort, [field])).map((name) => `${field} of ${name}`));
      if (changed.length === 0) return ok();
      return failed(`somebody changed ${some(changed)}`, installCommand(cluster.controlNamespace));
    },
  };
}

function isBelieved(sort: Sort): Check {
  return {
    id: `webhook-${sort}-ca`,
    category: "Webhook",
    title: `the caBundle of the ${sort} webhook is the injector's CA`,
    severity: sort === "mutating" ? "error" : "warning",
    when: "after",
    doc: "With another one the API server believes no answer. The injector writes it at each start and every 30 s.",
    needs: [`webhook-${sort}`],
    async look(cluster) {
      const { controlNamespace } = cluster;
      const wanted = textAt(await secret(cluster, TLS_SECRET), "data", "ca.crt");
      if (wanted === "")
        return failed(
          `there is no Secret ${controlNamespace}/${TLS_SECRET}`,
          `kubectl -n ${controlNamespace} rollout restart deployment/remora-injector`,
        );
      const stored = listAt(await configuration(cluster, sort), "webhooks");
      const stale = stored.flatMap((webhook, index) => (textAt(webhook, "clientConfig", "caBundle") === wanted ? [] : [index]));
      if (stale.length === 0) return ok();
      const read = `"'$(kubectl -n ${controlNamespace} get secret ${TLS_SECRET} -o jsonpath='{.data.ca\\.crt}')'"`;
      const operations = stale.map((index) => `{"op":"add","path":"/webhooks/${index}/clientConfig/caBundle","value":${read}}`);
      return failed(
        `${some(stale.map((index) => textAt(stored[index], "name")))} ${stale.length === 1 ? "has" : "have"} another one, or none`,
        `kubectl patch ${KIND[sort].toLowerCase()} ${NAME} --type=json -p '[${operations.join(",")}]'`,
      );
    },
  };
}

async function askForSidecar({ api, controlNamespace }: Cluster): Promise<Finding> {
  const pod = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { generateName: "remora-check-", labels: { "remora.io/inject": "enabled" } },
    // Meets every Pod Security level, so that the namespace's own is no obstacle.
    spec: {
      automountServiceAccountToken: false,
      securityContext: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: "RuntimeDefault" } },
      containers: [
        {
          name: "app",
          image: "remora-check",
          securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
          resources: { requests: { cpu: "10m", memory: "16Mi" }, limits: { memory: "16Mi" } },
        },
      ],
    },
  };
  const { status, body } = await api.call("POST", "/api/v1/namespaces/default/pods?dryRun=All", pod);
  if (status === 201) {
    const names = [...listAt(body, "spec", "containers"), ...listAt(body, "spec", "initContainers")].map((one) => textAt(one, "name"));
    if (names.includes(SIDECAR_CONTAINER)) return ok();
    return failed("the pod came back without a sidecar: the webhook was not asked, or said no", installCommand(controlNamespace));
  }
  const message = textAt(body, "message");
  if (!/failed calling webhook|failed to call webhook|no endpoints available/i.test(message))
    return unknown(`the pod is answered ${status}: ${message}`);
  // A certificate that is not believed has a check of its own with a command of its own.
  const fix = `kubectl -n ${controlNamespace} rollout restart deployment/remora-injector`;
  return failed(message, fix);
}

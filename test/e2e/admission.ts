// What the API server does with a new pod before it stores it: asks every webhook of the MutatingWebhookConfiguration whose selectors match, over TLS
// with the configured CA, applies the patch, and asks once more (reinvocationPolicy IfNeeded), when nothing may be left to do.
import { randomUUID } from "node:crypto";
import { request } from "node:https";
import jsonPatch from "fast-json-patch";
import type { KubeApi, KubeObject } from "../support/kube-api.ts";
import type { Pod } from "../support/pod-runner/pod-spec.ts";

const CONFIGURATION = "remora-injector";

type Labels = Readonly<Record<string, string>>;

interface Selector {
  readonly matchLabels?: Labels;
  readonly matchExpressions?: ReadonlyArray<{ readonly key: string; readonly operator: string; readonly values?: readonly string[] }>;
}

interface Webhook {
  readonly name: string;
  readonly clientConfig: {
    readonly service: { readonly name: string; readonly namespace: string; readonly path: string };
    readonly caBundle?: string;
  };
  readonly namespaceSelector?: Selector;
  readonly objectSelector?: Selector;
  readonly timeoutSeconds?: number;
}

interface AdmissionResponse {
  readonly uid: string;
  readonly allowed: boolean;
  readonly patchType?: string;
  readonly patch?: string;
  readonly status?: { readonly message?: string };
}

/** Where the webhook's Service leads to. */
export interface WebhookAddress {
  readonly host: string;
  readonly port: number;
}

/** The pod as it would be stored. @throws Error with the webhook's message when it refuses, or when it cannot be asked (failurePolicy Fail) */
export async function admit(kube: KubeApi, address: WebhookAddress, pod: Pod, namespace: string): Promise<Pod> {
  const configuration = kube.get("mutatingwebhookconfigurations", null, CONFIGURATION);
  const webhooks = (configuration?.["webhooks"] ?? []) as readonly Webhook[]; // stored by the test from the project's own manifest
  const namespaceLabels = kube.get("namespaces", null, namespace)?.metadata.labels ?? {};
  let admitted = pod;
  for (const webhook of webhooks) {
    if (!selects(webhook.namespaceSelector, namespaceLabels) || !selects(webhook.objectSelector, pod.metadata.labels ?? {})) continue;
    admitted = apply(admitted, await review(webhook, address, admitted, namespace));
    const again = await review(webhook, address, admitted, namespace);
    if (again.patch !== undefined && decode(again.patch).length > 0) {
      throw new Error(`webhook ${webhook.name} changes its own output: ${JSON.stringify(decode(again.patch))}`);
    }
  }
  return admitted;
}

/** Stores what `kubectl apply -k manifests/base` would, as far as admission needs it. */
export function storeWebhookConfiguration(kube: KubeApi, configuration: KubeObject): void {
  kube.put("mutatingwebhookconfigurations", configuration);
}

function apply(pod: Pod, response: AdmissionResponse): Pod {
  if (!response.allowed) throw new Error(`admission webhook denied the request: ${response.status?.message ?? ""}`);
  if (response.patch === undefined) return pod;
  if (response.patchType !== "JSONPatch") throw new Error(`patchType is ${response.patchType}`);
  return jsonPatch.applyPatch(structuredClone(pod), decode(response.patch), true).newDocument;
}

function decode(patch: string): jsonPatch.Operation[] {
  return JSON.parse(Buffer.from(patch, "base64").toString("utf8")) as jsonPatch.Operation[];
}

/** Kubernetes' label selectors; NotIn also selects what lacks the label. */
function selects(selector: Selector | undefined, labels: Labels): boolean {
  const byLabel = Object.entries(selector?.matchLabels ?? {}).every(([key, value]) => labels[key] === value);
  return (
    byLabel &&
    (selector?.matchExpressions ?? []).every(({ key, operator, values = [] }) => {
      const value = labels[key];
      switch (operator) {
        case "In":
          return value !== undefined && values.includes(value);
        case "NotIn":
          return value === undefined || !values.includes(value);
        case "Exists":
          return value !== undefined;
        case "DoesNotExist":
          return value === undefined;
        default:
          throw new Error(`selector operator ${operator}`);
      }
    })
  );
}

function review(webhook: Webhook, { host, port }: WebhookAddress, pod: Pod, namespace: string): Promise<AdmissionResponse> {
  const { service, caBundle = "" } = webhook.clientConfig;
  const uid = randomUUID();
  const body = JSON.stringify({
    apiVersion: "admission.k8s.io/v1",
    kind: "AdmissionReview",
    request: {
      uid,
      kind: { group: "", version: "v1", kind: "Pod" },
      resource: { group: "", version: "v1", resource: "pods" },
      operation: "CREATE",
      namespace,
      userInfo: { username: "system:serviceaccount:kube-system:replicaset-controller" },
      object: { apiVersion: "v1", kind: "Pod", ...pod },
      oldObject: null,
      dryRun: false,
    },
  });
  const options = {
    host,
    port,
    path: `${service.path}?timeout=${webhook.timeoutSeconds ?? 10}s`,
    method: "POST",
    servername: `${service.name}.${service.namespace}.svc`,
    ca: Buffer.from(caBundle, "base64"),
    headers: { "content-type": "application/json", "content-length": Buffer.byteLength(body) },
    timeout: (webhook.timeoutSeconds ?? 10) * 1000,
    agent: false as const,
  };
  return new Promise((done, fail) => {
    const call = request(options, (answer) => {
      let text = "";
      answer.setEncoding("utf8").on("data", (more: string) => (text += more));
      answer.on("end", () => {
        if (answer.statusCode !== 200) return fail(new Error(`webhook ${webhook.name}: status ${answer.statusCode} ${text}`));
        const { response } = JSON.parse(text) as { response: AdmissionResponse };
        if (response.uid !== uid) return fail(new Error(`webhook ${webhook.name} answers another request`));
        done(response);
      });
    });
    call.on("timeout", () => call.destroy(new Error(`webhook ${webhook.name}: no answer`)));
    call.on("error", fail);
    call.end(body);
  });
}

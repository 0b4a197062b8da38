// A mutating webhook of somebody else: a real HTTPS server of the test's that the API server calls. What it does to a pod is up to the test.
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { Test } from "tap";
import { until } from "../e2e/until.ts";
import { createThrowawayCa } from "../support/throwaway-ca.ts";
import type { ApiObject } from "../support/kubernetes/api-client.ts";
import type { Kubernetes } from "../support/kubernetes/kubernetes.ts";

const SETTLE_TIMEOUT_MS = 30_000;

/** One operation of RFC 6902. */
export interface Operation {
  readonly op: "add" | "replace" | "remove";
  readonly path: string;
  readonly value?: unknown;
}

export interface OtherWebhookOptions {
  /** Of its configuration; the API server asks webhooks in the order of these names. */
  readonly name: string;
  /** Namespace whose pods it is asked about. */
  readonly namespace: string;
  readonly change: (pod: ApiObject) => readonly Operation[];
}

export interface OtherWebhook {
  /** How often it was asked. */
  readonly calls: () => number;
  /** Takes its configuration away; resolves when the API server asks no more. */
  remove(): Promise<void>;
}

/** Starts it and makes it known; resolves when the API server asks it. */
export async function startOtherWebhook(t: Test, kubernetes: Kubernetes, options: OtherWebhookOptions): Promise<OtherWebhook> {
  const { name, namespace, change } = options;
  const { host, api } = kubernetes;
  const ca = createThrowawayCa();
  const { certPem, keyPem } = ca.leaf("test/webhook", { addresses: [Buffer.from(host.split(".").map(Number))] });
  let calls = 0;
  const server = createServer({ cert: certPem, key: keyPem }, (request, response) => {
    let text = "";
    request.setEncoding("utf8").on("data", (more: string) => (text += more));
    request.on("end", () => {
      calls += 1;
      const review = (JSON.parse(text) as { readonly request: { readonly uid: string; readonly object: ApiObject } }).request;
      const patch = Buffer.from(JSON.stringify(change(review.object))).toString("base64");
      const answer = { uid: review.uid, allowed: true, patchType: "JSONPatch", patch };
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify({ apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview", response: answer }));
    });
  });
  await new Promise<void>((done) => server.listen(0, host, done));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
  await api.call(path, {
    body: {
      metadata: { name },
      webhooks: [
        {
          name: `${name}.example.test`,
          clientConfig: {
            url: `https://${host}:${(server.address() as AddressInfo).port}/`,
            caBundle: Buffer.from(ca.rootPem).toString("base64"),
          },
          rules: [{ operations: ["CREATE"], apiGroups: [""], apiVersions: ["v1"], resources: ["pods"], scope: "Namespaced" }],
          namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": namespace } },
          admissionReviewVersions: ["v1"],
          reinvocationPolicy: "IfNeeded",
          sideEffects: "None",
        },
      ],
    },
  });
  const pod = { metadata: { generateName: "probe-" }, spec: { containers: [{ name: "probe", image: "busybox" }] } };
  async function isAsked(): Promise<boolean> {
    const before = calls;
    await api.call(`/api/v1/namespaces/${namespace}/pods?dryRun=All`, { body: pod });
    return calls > before;
  }
  await until(`the API server asks ${name}`, SETTLE_TIMEOUT_MS, isAsked);
  calls = 0;
  return {
    calls: () => calls,
    async remove() {
      await api.call(`${path}/${name}`, { method: "DELETE" });
      await until(`the API server asks ${name} no more`, SETTLE_TIMEOUT_MS, async () => !(await isAsked()));
    },
  };
}

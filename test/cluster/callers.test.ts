// Who may ask the webhook, where the platform says so: the API server shows the certificate that its own configuration names for the Service, and everybody
// else is turned away before a byte of a review is read.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { connect } from "node:tls";
import t from "tap";
import type { Kubernetes } from "../support/kubernetes/kubernetes.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { createThrowawayCa, type Leaf } from "../support/throwaway-ca.ts";
import { CONTROL_NAMESPACE, INJECTOR, install, kubectl, lacksCluster } from "./installation.ts";
import { isInjected, storedPod } from "./stored-pod.ts";

t.setTimeout(800_000);

const SERVICE = `remora-injector.${CONTROL_NAMESPACE}.svc`;
const API_SERVER = "kube-apiserver";

/** Files by which kube-apiserver knows what to show to webhooks; its argument. */
function writeAdmissionConfiguration(folder: string, { keyPem, certPem }: Leaf): string {
  const base64 = (text: string) => Buffer.from(text).toString("base64");
  const user = { "client-certificate-data": base64(certPem), "client-key-data": base64(keyPem) };
  const kubeConfigFile = join(folder, "webhooks.kubeconfig");
  writeFileSync(kubeConfigFile, JSON.stringify({ apiVersion: "v1", kind: "Config", users: [{ name: SERVICE, user }] }));
  const configuration = { apiVersion: "apiserver.config.k8s.io/v1", kind: "WebhookAdmissionConfiguration", kubeConfigFile };
  const plugins = ["MutatingAdmissionWebhook", "ValidatingAdmissionWebhook"].map((name) => ({ name, configuration }));
  const path = join(folder, "admission.yaml");
  writeFileSync(path, JSON.stringify({ apiVersion: "apiserver.config.k8s.io/v1", kind: "AdmissionConfiguration", plugins }));
  return `--admission-control-config-file=${path}`;
}

/** As an overlay would: the roots in a ConfigMap, mounted, and the settings that name them. */
async function demandCertificates(kubernetes: Kubernetes, rootPem: string): Promise<void> {
  const roots = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "webhook-callers" }, data: { "ca.crt": rootPem } };
  await kubectl(kubernetes, ["apply", "-n", CONTROL_NAMESPACE, "-f", "-"], JSON.stringify(roots));
  const container = {
    name: "injector",
    env: [
      { name: "REMORA_WEBHOOK_CLIENT_CA", value: "/etc/callers/ca.crt" },
      { name: "REMORA_WEBHOOK_CLIENT_NAMES", value: API_SERVER },
    ],
    volumeMounts: [{ name: "callers", mountPath: "/etc/callers", readOnly: true }],
  };
  const spec = { volumes: [{ name: "callers", configMap: { name: "webhook-callers" } }], containers: [container] };
  const patch = JSON.stringify({ spec: { template: { spec } } });
  await kubectl(kubernetes, ["patch", "deployment", "remora-injector", "-n", CONTROL_NAMESPACE, "-p", patch]);
}

/** What a caller of the webhook's port is answered; null when the connection is closed without an answer. */
function ask(host: string, leaf: Leaf | null): Promise<string | null> {
  return new Promise((done) => {
    const shown = leaf === null ? {} : { key: leaf.keyPem, cert: leaf.certPem };
    const socket = connect({ host, port: 15017, servername: SERVICE, rejectUnauthorized: false, ALPNProtocols: ["http/1.1"], ...shown });
    let text = "";
    socket.setTimeout(5_000, () => socket.destroy());
    socket.on("secureConnect", () => socket.write("GET /inject HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"));
    socket.setEncoding("utf8").on("data", (more: string) => (text += more));
    socket.on("error", () => undefined); // a close follows
    socket.on("close", () => done(text === "" ? null : (text.split("\r\n")[0] ?? "")));
  });
}

t.test("only the API server may ask", { skip: lacksCluster }, async (t) => {
  const ca = createThrowawayCa();
  const own = ca.leaf("kubernetes/apiserver", { commonName: API_SERVER });
  const installation = await install(t, {
    apiServerArgs: [writeAdmissionConfiguration(temporaryFolder(t), own)],
    beforeStart: (kubernetes) => demandCertificates(kubernetes, ca.rootPem),
  });
  const { kubernetes, node } = installation;
  const [injector] = node.pods(INJECTOR);
  const [address = ""] = injector?.facts.podIps ?? [];

  t.test("the API server is served", async (t) => {
    await kubernetes.createNamespace("shop", { labels: { "remora.io/inject": "enabled" } });
    const body = { metadata: { name: "app" }, spec: { containers: [{ name: "app", image: "busybox" }] } };
    t.ok(isInjected(storedPod(await kubernetes.api.object("/api/v1/namespaces/shop/pods", { body }))));
    const bad = await kubernetes.kubectl(["annotate", "namespace", "shop", "remora.io/mode=lax"]);
    t.match(bad.stderr, /denied the request: remora refuses it/, "by the validating webhook too");
  });

  t.test("others are not", async (t) => {
    t.match(await ask(address, own), /^HTTP\/1\.1 405 /, "with the API server's certificate there is an answer");
    t.equal(await ask(address, null), null, "without a certificate");
    t.equal(await ask(address, createThrowawayCa().leaf("kubernetes/apiserver", { commonName: API_SERVER })), null, "of other roots");
    t.equal(await ask(address, ca.leaf("shop/web", { commonName: "web" })), null, "of another name");
  });
});

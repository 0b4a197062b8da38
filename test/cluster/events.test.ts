// What the injector did with a pod, as `kubectl describe` shows it: Events at the workload, on the real API server and with the rights of the manifests.
import t from "tap";
import { until } from "../e2e/until.ts";
import { createPodOf } from "../support/kubernetes/controllers.ts";
import type { ApiObject } from "../support/kubernetes/api-client.ts";
import { install, kubectl, lacksCluster } from "./installation.ts";

t.setTimeout(800_000);

interface WorkloadEvent {
  readonly reason: string;
  readonly type: string;
  readonly message: string;
  readonly involvedObject: { readonly kind: string; readonly name: string; readonly uid?: string };
  readonly reportingComponent: string;
}

function deployment(name: string, template: { readonly labels?: object; readonly spec?: object } = {}): ApiObject {
  const labels = { app: name };
  const spec = { containers: [{ name: "app", image: "busybox" }], ...template.spec };
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name },
    spec: { selector: { matchLabels: labels }, template: { metadata: { labels: { ...labels, ...template.labels } }, spec } },
  };
}

t.test("Events of the injector", { skip: lacksCluster }, async (t) => {
  const { kubernetes } = await install(t);
  const { api } = kubernetes;
  await kubernetes.createNamespace("shop", { labels: { "remora.io/inject": "enabled" } });
  const apply = (object: ApiObject) => api.object("/apis/apps/v1/namespaces/shop/deployments", { body: object });
  const eventsAt = async (name: string): Promise<readonly WorkloadEvent[]> => {
    const { items } = JSON.parse(await kubectl(kubernetes, ["get", "events", "-n", "shop", "-o", "json"])) as {
      items: readonly WorkloadEvent[];
    };
    return items.filter(({ involvedObject }) => involvedObject.name === name);
  };
  const eventOf = async (name: string, reason: string): Promise<WorkloadEvent> => {
    await until(`an Event ${reason} at ${name}`, 60_000, async () => (await eventsAt(name)).some((event) => event.reason === reason));
    return (await eventsAt(name)).find((event) => event.reason === reason) as WorkloadEvent; // it was there a moment ago
  };

  t.test("a pod that got its sidecar is told at the Deployment, once for all its replicas", async (t) => {
    const web = await apply(deployment("web"));
    await createPodOf(api, web);
    const event = await eventOf("web", "Injected");
    t.match(event, {
      type: "Normal",
      involvedObject: { kind: "Deployment", uid: web.metadata.uid },
      reportingComponent: "remora.io/injector",
    });
    t.match(event.message, /sidecar added \(namespace_enabled\)/);
    t.match(await kubectl(kubernetes, ["describe", "deployment", "web", "-n", "shop"]), /Injected/);
  });

  t.test("a refusal and a reason to leave a pod alone are warnings", async (t) => {
    const busy = await apply(
      deployment("busy", { spec: { containers: [{ name: "app", image: "busybox", ports: [{ containerPort: 15006 }] }] } }),
    );
    await t.rejects(createPodOf(api, busy), /port_conflict/);
    t.match(await eventOf("busy", "InjectionRefused"), {
      type: "Warning",
      message: /port_conflict/,
      involvedObject: { kind: "Deployment" },
    });
    const node = await apply(deployment("node", { spec: { hostNetwork: true } }));
    await createPodOf(api, node);
    t.match(await eventOf("node", "InjectionSkipped"), { type: "Warning", message: /host_network/ });
  });

  t.test("a dry run leaves none", async (t) => {
    const pod = { metadata: { name: "trial" }, spec: { containers: [{ name: "app", image: "busybox" }] } };
    await api.object("/api/v1/namespaces/shop/pods?dryRun=All", { body: pod });
    await new Promise((done) => setTimeout(done, 1_000));
    t.strictSame(await eventsAt("trial"), []);
  });
});

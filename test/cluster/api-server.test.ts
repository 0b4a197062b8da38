// The API server of the cluster tests is what it claims to be: the pinned version, with tokens that are proven, accounts with no more than their rights,
// and Kubernetes' own admission.
import t from "tap";
import { until } from "../e2e/until.ts";
import { KUBERNETES_PROGRAMS, startKubernetes } from "../support/kubernetes/kubernetes.ts";
import { requires } from "../support/requires.ts";

t.setTimeout(800_000);

t.test("a real API server", { skip: requires(...KUBERNETES_PROGRAMS) }, async (t) => {
  const kubernetes = await startKubernetes(t);
  const { api } = kubernetes;
  await kubernetes.createNamespace("shop", { labels: { "pod-security.kubernetes.io/enforce": "baseline" } });

  t.test("has a version", async (t) => {
    t.match(await api.object("/version"), { major: "1", gitVersion: /^v1\.\d+\.\d+$/ });
  });

  t.test("proves tokens of its own making", async (t) => {
    const token = await kubernetes.requestToken("shop", "default", { audiences: ["remora.io"] });
    const review = (spec: object) => api.object("/apis/authentication.k8s.io/v1/tokenreviews", { body: { spec } });
    const answer = await review({ token, audiences: ["remora.io"] });
    t.match(answer["status"], { authenticated: true, user: { username: "system:serviceaccount:shop:default" }, audiences: ["remora.io"] });
    t.match((await review({ token, audiences: ["other"] }))["status"], { authenticated: undefined });
    t.match((await review({ token: `${token}x`, audiences: ["remora.io"] }))["status"], { authenticated: undefined });
  });

  t.test("lets an account do only what it may", async (t) => {
    const kubeconfig = kubernetes.writeKubeconfig("shop", await kubernetes.requestToken("shop", "default"));
    const { code, stderr } = await kubernetes.kubectl(["get", "secrets", "-n", "shop"], { kubeconfig });
    t.not(code, 0);
    t.match(stderr, 'User "system:serviceaccount:shop:default" cannot list resource "secrets"');
  });

  t.test("admits pods as Kubernetes does", async (t) => {
    const create = (spec: object) => api.object("/api/v1/namespaces/shop/pods", { body: { metadata: { generateName: "a-" }, spec } });
    const app = { name: "app", image: "busybox" };
    const { spec } = await create({ containers: [app] });
    t.match(spec, { serviceAccountName: "default", tolerations: Array, volumes: [{ name: /^kube-api-access-/ }] }, "default plugins ran");
    await t.rejects(create({ containers: [{ ...app, securityContext: { privileged: true } }] }), {
      status: 403,
      message: /violates PodSecurity/,
    });
    await t.rejects(create({ containers: [] }), { message: /: 422 / });
  });

  t.test("bounds resources where it is told to", async (t) => {
    const limits = [{ type: "Container", max: { memory: "64Mi" }, default: { memory: "32Mi" } }];
    await api.call("/api/v1/namespaces/shop/limitranges", { body: { metadata: { name: "small" }, spec: { limits } } });
    const pod = (memory: string) => ({
      metadata: { generateName: "b-" },
      spec: { containers: [{ name: "app", image: "busybox", resources: { limits: { memory } } }] },
    });
    const refusal = () =>
      api.call("/api/v1/namespaces/shop/pods?dryRun=All", { body: pod("128Mi") }).then(
        () => "",
        (error: Error) => error.message,
      );
    await until("the API server's admission has seen the LimitRange", 30_000, async () => (await refusal()) !== "");
    t.match(await refusal(), /403 .*maximum memory usage/);
    await t.resolves(api.call("/api/v1/namespaces/shop/pods", { body: pod("64Mi") }));
  });
});

// The stand-in is only useful if the real client library cannot tell it from an API server, so it is tried through that library.
import { AuthenticationV1Api, CoreV1Api, KubeConfig, Watch } from "@kubernetes/client-node";
import t from "tap";
import { startKubeApi } from "./kube-api.ts";

function configFor(text: string): KubeConfig {
  const config = new KubeConfig();
  config.loadFromString(text);
  return config;
}

t.test("a secret is created once, updated with its version, and refused with a stale one", async (t) => {
  const api = await startKubeApi();
  t.teardown(() => api.close());
  const core = configFor(api.kubeconfig()).makeApiClient(CoreV1Api);
  const body = { metadata: { name: "ca" }, data: { key: "YQ==" } };

  const created = await core.createNamespacedSecret({ namespace: "remora-system", body });
  await t.rejects(core.createNamespacedSecret({ namespace: "remora-system", body }), { code: 409 });

  const updated = await core.replaceNamespacedSecret({
    namespace: "remora-system",
    name: "ca",
    body: { ...created, data: { key: "Yg==" } },
  });
  t.equal(updated.data?.["key"], "Yg==");
  await t.rejects(core.replaceNamespacedSecret({ namespace: "remora-system", name: "ca", body: created }), { code: 409 });
  await t.rejects(core.readNamespacedSecret({ namespace: "remora-system", name: "other" }), { code: 404 });
});

t.test("a token is reviewed against the audience asked for", async (t) => {
  const api = await startKubeApi();
  t.teardown(() => api.close());
  api.allowToken("good", { username: "system:serviceaccount:shop:web", audiences: ["remora.io"] });
  const review = (token: string, audience: string) =>
    configFor(api.kubeconfig())
      .makeApiClient(AuthenticationV1Api)
      .createTokenReview({ body: { spec: { token, audiences: [audience] } } });

  t.match((await review("good", "remora.io")).status, { authenticated: true, user: { username: "system:serviceaccount:shop:web" } });
  t.match((await review("good", "other")).status, { authenticated: false });
  t.match((await review("bad", "remora.io")).status, { authenticated: false });
});

t.test("a watch resumes from a list, sees changes, and hears when its version is too old", async (t) => {
  const api = await startKubeApi();
  t.teardown(() => api.close());
  api.put("pods", { metadata: { name: "a", namespace: "shop", labels: { app: "web" } } });
  const config = configFor(api.kubeconfig());
  const listed = await config.makeApiClient(CoreV1Api).listNamespacedPod({ namespace: "shop", labelSelector: "app=web" });
  t.equal(listed.items.length, 1);

  const seen: string[] = [];
  let enough: () => void = () => {};
  const done = new Promise<void>((resolve) => {
    enough = resolve;
  });
  const resourceVersion = listed.metadata?.resourceVersion ?? "";
  const watch = await new Watch(config).watch(
    "/api/v1/namespaces/shop/pods",
    { resourceVersion, labelSelector: "app=web" },
    (type: string, pod: { metadata: { name: string } }) => {
      seen.push(`${type} ${pod.metadata.name}`);
      if (seen.length === 3) enough();
    },
    () => {},
  );
  api.put("pods", { metadata: { name: "b", namespace: "shop", labels: { app: "web" } } });
  api.put("pods", { metadata: { name: "c", namespace: "shop", labels: { app: "other" } } });
  api.put("pods", { metadata: { name: "a", namespace: "shop", labels: { app: "web", more: "x" } } });
  api.remove("pods", "shop", "b");
  await done;
  watch.abort();
  t.strictSame(seen, ["ADDED b", "MODIFIED a", "DELETED b"]);

  api.dropWatches({ forget: true });
  const answer = await new Promise<string>((resolve) => {
    void new Watch(config).watch(
      "/api/v1/namespaces/shop/pods",
      { resourceVersion },
      (type: string) => resolve(type),
      () => resolve("ended"),
    );
  });
  t.match(answer, /ERROR|ended/);
});

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { findKubeContext } from "../../injector/cluster/kube-access.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const KUBECONFIG = `
apiVersion: v1
kind: Config
current-context: one
clusters:
- {name: a, cluster: {server: "https://a.example:6443", certificate-authority: ca.pem}}
- {name: b, cluster: {server: "http://b.example:8001/"}}
users:
- {name: u, user: {token: secret}}
- {name: v, user: {tokenFile: token}}
contexts:
- {name: one, context: {cluster: a, user: u, namespace: shop}}
- {name: two, context: {cluster: b, user: v}}
- {name: broken, context: {cluster: gone, user: u}}
`;

t.test("a kubeconfig gives server, credentials and namespace of the current context, or of the one that is asked for", async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, "config");
  writeFileSync(path, KUBECONFIG);
  writeFileSync(join(folder, "ca.pem"), "CA");
  writeFileSync(join(folder, "token"), "from a file\n");
  const env = { KUBECONFIG: path };
  const current = await findKubeContext({ env });
  t.equal(current.namespace, "shop");
  t.match(await current.access(), { server: "https://a.example:6443", tls: { ca: "CA" }, headers: { authorization: "Bearer secret" } });
  const other = await findKubeContext({ env, context: "two" });
  t.equal(other.namespace, null);
  t.match(await other.access(), { server: "http://b.example:8001/", headers: { authorization: "Bearer from a file" } });
  await t.rejects(findKubeContext({ env, context: "three" }), {
    code: "invalid_settings",
    message: 'the kubeconfig has no context "three"',
  });
  await t.rejects(findKubeContext({ env, context: "broken" }), { message: /names no cluster with a server/ });
  await t.rejects(findKubeContext({ env: { KUBECONFIG: join(folder, "none") } }), { message: /cannot be read/ });
  await t.rejects(findKubeContext({ env, kubeconfig: "a: [" }), { code: "invalid_settings", message: /^the kubeconfig is no YAML: / });
});

t.test(
  "several files are one: the first that names something holds, paths are those of their own file, and what is not there is left out",
  async (t) => {
    const [first, second] = [temporaryFolder(t), temporaryFolder(t)];
    writeFileSync(
      join(first, "config"),
      `
clusters:
- {name: a, cluster: {server: "https://first.example"}}
contexts:
- {name: mixed, context: {cluster: a, user: v}}
- {name: one, context: {cluster: b, user: v}}
`,
    );
    writeFileSync(join(second, "config"), KUBECONFIG);
    writeFileSync(join(second, "token"), "of the second folder");
    const env = { KUBECONFIG: [join(first, "none"), join(first, "config"), join(second, "config")].join(":") };
    const current = await findKubeContext({ env });
    t.equal(current.server, "http://b.example:8001/", "current-context is of the second file, and its context of the first");
    t.equal(current.namespace, null);
    t.match(await (await findKubeContext({ env, context: "mixed" })).access(), {
      server: "https://first.example",
      headers: { authorization: "Bearer of the second folder" },
    });
    t.equal((await findKubeContext({ env, context: "two" })).server, "http://b.example:8001/");
    await t.rejects(findKubeContext({ env: { KUBECONFIG: `${join(first, "none")}:${join(second, "none")}` } }), /cannot be read/);
  },
);

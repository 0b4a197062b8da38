// Where the Kubernetes API is found and how one proves who one is, and what of it goes over the wire.
import { createServer } from "node:https";
import { writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import t from "tap";
import { findKubeAccess } from "../../injector/cluster/kube-access.ts";
import { createKubeHttp, KubeError } from "../../injector/cluster/kube-http.ts";
import { startKubeApi } from "../support/kube-api.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { createThrowawayCa } from "../support/throwaway-ca.ts";

function kubeconfig(server: string, cluster: object, user: object): string {
  return JSON.stringify({
    clusters: [{ name: "c", cluster: { server, ...cluster } }],
    users: [{ name: "u", user }],
    contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
    "current-context": "x",
  });
}

t.test("a kubeconfig with a token, a token in a file, or files of certificates", async (t) => {
  const folder = temporaryFolder(t);
  await writeFile(join(folder, "token"), "from-a-file\n");
  await writeFile(join(folder, "ca.pem"), "CA");
  await writeFile(join(folder, "config"), kubeconfig("https://k", { "certificate-authority": "ca.pem" }, { tokenFile: "token" }));
  const byFile = await (await findKubeAccess({ env: { KUBECONFIG: join(folder, "config") } }))();
  t.match(byFile, { server: "https://k", tls: { ca: "CA" }, headers: { authorization: "Bearer from-a-file" } });
  const data = (text: string) => Buffer.from(text).toString("base64");
  const text = kubeconfig(
    "https://k",
    { "certificate-authority-data": data("CA"), "tls-server-name": "api" },
    { "client-certificate-data": data("CERT"), "client-key-data": data("KEY") },
  );
  t.strictSame(await (await findKubeAccess({ kubeconfig: text, env: {} }))(), {
    server: "https://k",
    tls: { ca: "CA", cert: "CERT", key: "KEY", servername: "api" },
    headers: {},
  });
  await t.rejects(findKubeAccess({ env: { KUBECONFIG: join(folder, "nowhere") } }), /nowhere cannot be read/);
  await t.rejects(findKubeAccess({ kubeconfig: "{}", env: {} }), /names no cluster with a server/);
});

t.test("a login that is a protocol of its own is left to the client library", async (t) => {
  const exec = { apiVersion: "client.authentication.k8s.io/v1", command: process.execPath, args: ["-e", "console.log(process.env.SAYS)"] };
  const says = JSON.stringify({ apiVersion: exec.apiVersion, kind: "ExecCredential", status: { token: "from-a-plugin" } });
  const user = { exec: { ...exec, interactiveMode: "Never", env: [{ name: "SAYS", value: says }] } };
  const access = await findKubeAccess({ kubeconfig: kubeconfig("https://k", { "insecure-skip-tls-verify": true }, user), env: {} });
  t.match(await access(), { server: "https://k", headers: { Authorization: "Bearer from-a-plugin" } });
});

t.test("the API server has to be whom the kubeconfig says, and is told who asks", async (t) => {
  const ca = createThrowawayCa();
  const leaf = ca.leaf("kube-system/api", { addresses: [Buffer.of(127, 0, 0, 1)] });
  const seen: (string | undefined)[] = [];
  const server = createServer({ key: leaf.keyPem, cert: leaf.certPem }, (request, response) => {
    seen.push(request.headers.authorization);
    response.end("{}");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => server.close());
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const open = async (rootPem: string) => {
    const authority = { "certificate-authority-data": Buffer.from(rootPem).toString("base64") };
    return createKubeHttp(await findKubeAccess({ kubeconfig: kubeconfig(url, authority, { token: "t" }), env: {} }));
  };
  t.strictSame(await (await open(ca.rootPem)).call("GET", "/api"), {});
  t.strictSame(seen, ["Bearer t"]);
  await t.rejects((await open(createThrowawayCa().rootPem)).call("GET", "/api"), /certificate|self-signed|unable to verify/i);
  t.equal(seen.length, 1, "nothing was told to somebody else");
  server.closeAllConnections();
});

t.test("a refusal is an error with the API server's status and words; a silent server is given up", async (t) => {
  const kube = await startKubeApi({ authorize: ({ resource }) => resource !== "secrets" });
  t.teardown(() => kube.close());
  const http = createKubeHttp(await findKubeAccess({ kubeconfig: kube.kubeconfig(), env: {} }));
  const refused = await http.call("GET", "/api/v1/namespaces/x/secrets").catch((error: unknown) => error);
  t.ok(refused instanceof KubeError);
  t.match(refused, { code: 403, message: /cannot list resource "secrets"/ });
  t.match(await http.call("GET", "/api/v1/pods/none/x/y/z").catch((error: unknown) => error), { code: 404 });
  await t.rejects(
    http.watch(
      "/api/v1/secrets",
      {},
      () => {},
      () => {},
    ),
    { code: 403 },
  );
  const silent = createServer();
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  t.teardown(() => silent.close());
  const port = (silent.address() as AddressInfo).port;
  const waiting = createKubeHttp(async () => ({ server: `http://127.0.0.1:${port}`, tls: {}, headers: {} }));
  await t.rejects(waiting.call("GET", "/api", { timeoutMs: 100 }), /no answer within 0.1 s|ECONNRESET|socket hang up/);
});

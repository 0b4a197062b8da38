// A real API server for tests: etcd and kube-apiserver with RBAC and the default admission plugins, throw-away keys, and an administrator's kubectl.
// No controller, scheduler or kubelet runs: what they would do is the test's business (controllers.ts). Needs no root. Everything dies with the test.
import { execFile } from "node:child_process";
import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, X509Certificate } from "node:crypto";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Test } from "tap";
import { createCertificate, issuerOf, selfIssuer } from "../../../core/x509/certificate.ts";
import { OID } from "../../../core/x509/extensions.ts";
import { toPem } from "../../../core/x509/pem.ts";
import { freePort } from "../free-port.ts";
import { type HelperProcess, startProcess, waitForPort } from "../processes.ts";
import { findProgram } from "../requires.ts";
import { type ApiClient, createApiClient } from "./api-client.ts";

const START_TIMEOUT_MS = 90_000;
const KUBECTL_TIMEOUT_MS = 60_000;
/** The two programs are killed after this long, whatever the test does. */
const DEFAULT_LIFE_MS = 15 * 60_000;
const DAY_MS = 86_400_000;
const ADMIN_GROUP = "system:masters";
/** What a test needs to start it, for `requires`. */
export const KUBERNETES_PROGRAMS = ["etcd", "kube-apiserver", "kubectl"] as const;

export interface KubernetesOptions {
  /** IPv4 address that the API server listens on. Default 127.0.0.1; the host's address of a test network lets pods reach it. */
  readonly host?: string;
  /** More arguments of kube-apiserver. */
  readonly args?: readonly string[];
  /** Default 15 minutes. */
  readonly lifeMs?: number;
}

/** How kubectl ended. */
export interface KubectlResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Kubernetes {
  readonly host: string;
  readonly port: number;
  readonly url: string;
  /** What clients are to believe. */
  readonly caPem: string;
  /** The administrator's. */
  readonly api: ApiClient;
  readonly adminToken: string;
  /** Path of the administrator's kubeconfig. */
  readonly kubeconfig: string;
  /** Writes a kubeconfig with a token, e.g. of a service account; the path. */
  writeKubeconfig(name: string, token: string): string;
  /** A service account's token, by TokenRequest. With `pod` it is bound to that pod, as a projected one is. */
  requestToken(namespace: string, serviceAccount: string, options?: TokenOptions): Promise<string>;
  /** Runs kubectl as the administrator, or with another kubeconfig. Never rejects for an exit status. */
  kubectl(args: readonly string[], options?: { readonly stdin?: string; readonly kubeconfig?: string }): Promise<KubectlResult>;
  /** A namespace with all that controllers would put into it: the account `default` and the ConfigMap `kube-root-ca.crt`. */
  createNamespace(name: string, metadata?: { readonly labels?: object; readonly annotations?: object }): Promise<void>;
  /** The last lines of both programs. */
  log(): string;
  /** Where etcd answers clients, over plain HTTP. */
  readonly etcdUrl: string;
  /** Kills the API server and starts it anew; with `emptied` on an etcd that never held anything, as after a restore from an early backup. */
  restart(options?: { readonly emptied?: boolean }): Promise<void>;
  stop(): Promise<void>;
}

export interface TokenOptions {
  readonly audiences?: readonly string[];
  readonly expirationSeconds?: number;
  readonly pod?: { readonly name: string; readonly uid: string };
}

/** Starts both and waits until the API server is ready. @throws Error with their last lines when it is not within 90 s */
export async function startKubernetes(t: Test, options: KubernetesOptions = {}): Promise<Kubernetes> {
  const { host = "127.0.0.1", args = [], lifeMs = DEFAULT_LIFE_MS } = options;
  const folder = mkdtempSync(join(tmpdir(), "remora-kubernetes-"));
  // The folder goes once nobody writes into it any more, so the programs' own teardowns come too late.
  const started: HelperProcess[] = [];
  t.teardown(async () => {
    for (const program of started.toReversed()) await program.kill();
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  });
  const pki = makeKeys(folder, host);
  const [port, etcdPort, etcdPeerPort] = [await freePort(host), await freePort(), await freePort()];
  const url = `https://${host}:${port}`;
  const log = () => [...etcd.lines.slice(-20), ...apiserver.lines.slice(-100)].join("\n");

  async function runEtcd(): Promise<HelperProcess> {
    const etcd = startEtcd(t, folder, etcdPort, etcdPeerPort, lifeMs);
    started.push(etcd);
    await waitForPort(etcdPort, "127.0.0.1", START_TIMEOUT_MS);
    return etcd;
  }

  function runApiServer(): HelperProcess {
    const apiserver = startProcess(t, "setpriv", {
      args: ["--pdeathsig=KILL", "--", program("kube-apiserver"), ...apiServerArgs(folder, host, port, etcdPort), ...args],
      killAfterMs: lifeMs,
    });
    started.push(apiserver);
    return apiserver;
  }
  let etcd = await runEtcd();
  let apiserver = runApiServer();
  await waitUntilReady(url, pki, apiserver, log);
  const api = createApiClient(url, pki.caPem, pki.adminToken);
  t.teardown(() => api.close());

  function writeKubeconfig(name: string, token: string): string {
    const path = join(folder, `${name}.kubeconfig`);
    writeFileSync(path, formatKubeconfig(url, pki.caPem, token), { mode: 0o600 });
    return path;
  }
  const kubeconfig = writeKubeconfig("admin", pki.adminToken);

  async function createNamespace(name: string, metadata: object = {}): Promise<void> {
    await api.call("/api/v1/namespaces", { body: { metadata: { ...metadata, name } } });
    await furnishNamespace(api, name, pki.caPem);
  }

  await Promise.all(["default", "kube-system"].map((name) => furnishNamespace(api, name, pki.caPem)));
  return {
    host,
    port,
    url,
    caPem: pki.caPem,
    api,
    adminToken: pki.adminToken,
    kubeconfig,
    writeKubeconfig,
    async requestToken(namespace, serviceAccount, { audiences = [], expirationSeconds = 3600, pod } = {}) {
      const boundObjectRef = pod === undefined ? {} : { boundObjectRef: { apiVersion: "v1", kind: "Pod", ...pod } };
      const answer = await api.object(`/api/v1/namespaces/${namespace}/serviceaccounts/${serviceAccount}/token`, {
        body: { spec: { audiences, expirationSeconds, ...boundObjectRef } },
      });
      return (answer["status"] as { readonly token: string }).token;
    },
    kubectl: (kubectlArgs, given = {}) => runKubectl(kubectlArgs, { kubeconfig, ...given }, folder),
    createNamespace,
    log,
    etcdUrl: `http://127.0.0.1:${etcdPort}`,
    async restart({ emptied = false } = {}) {
      await apiserver.kill();
      if (emptied) {
        await etcd.kill();
        await rm(join(folder, "etcd"), { recursive: true, maxRetries: 5 });
        etcd = await runEtcd();
      }
      apiserver = runApiServer();
      await waitUntilReady(url, pki, apiserver, log);
    },
    async stop() {
      api.close();
      await apiserver.kill();
      await etcd.kill();
    },
  };
}

/** What Kubernetes' controllers put into every namespace. Does nothing where it is there already. */
export async function furnishNamespace(api: ApiClient, namespace: string, caPem: string): Promise<void> {
  const path = `/api/v1/namespaces/${namespace}`;
  const ignoreExisting = (error: { readonly status?: number }) => {
    if (error.status !== 409) throw error;
  };
  await api.call(`${path}/serviceaccounts`, { body: { metadata: { name: "default" } } }).catch(ignoreExisting);
  await api
    .call(`${path}/configmaps`, { body: { metadata: { name: "kube-root-ca.crt" }, data: { "ca.crt": caPem } } })
    .catch(ignoreExisting);
}

interface Keys {
  readonly caPem: string;
  readonly adminToken: string;
}

/** An authority with the API server's certificate, the key of service-account tokens, and the administrator's token. */
function makeKeys(folder: string, host: string): Keys {
  const nowMs = Date.now();
  const life = { notBeforeMs: nowMs - 3_600_000, notAfterMs: nowMs + DAY_MS };
  const rootKey = makeKey();
  const commonName = "kubernetes of a test";
  const root = createCertificate({
    ...life,
    publicKey: rootKey,
    issuer: selfIssuer(rootKey, commonName),
    commonName,
    names: {},
    isCa: true,
    keyUsage: ["keyCertSign", "cRLSign"],
    extendedKeyUsage: [],
  });
  const servingKey = makeKey();
  const serving = createCertificate({
    ...life,
    publicKey: servingKey,
    issuer: issuerOf(new X509Certificate(root), rootKey),
    commonName: "kube-apiserver",
    names: {
      dnsNames: ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"],
      addresses: [host, "127.0.0.1"].map((address) => Buffer.from(address.split(".").map(Number))),
    },
    isCa: false,
    keyUsage: ["digitalSignature"],
    extendedKeyUsage: [OID.serverAuth],
  });
  const adminToken = randomBytes(24).toString("hex");
  const caPem = toPem(root, "CERTIFICATE");
  const write = (name: string, text: string) => writeFileSync(join(folder, name), text, { mode: 0o600 });
  write("apiserver.crt", toPem(serving, "CERTIFICATE"));
  write("apiserver.key", keyPem(servingKey));
  const accountsKey = makeKey();
  write("accounts.key", keyPem(accountsKey));
  write("accounts.pub", createPublicKey(accountsKey).export({ type: "spki", format: "pem" }) as string); // as in keyPem
  write("tokens.csv", `${adminToken},admin,admin,${ADMIN_GROUP}\n`);
  return { caPem, adminToken };
}

function makeKey(): KeyObject {
  return generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
}

function keyPem(key: KeyObject): string {
  return key.export({ type: "pkcs8", format: "pem" }) as string; // PEM export gives a string; the types allow both
}

function startEtcd(t: Test, folder: string, port: number, peerPort: number, lifeMs: number): HelperProcess {
  const data = join(folder, "etcd");
  mkdirSync(data, { mode: 0o700 });
  const client = `http://127.0.0.1:${port}`;
  const peer = `http://127.0.0.1:${peerPort}`;
  const args = [
    `--data-dir=${data}`,
    `--listen-client-urls=${client}`,
    `--advertise-client-urls=${client}`,
    `--listen-peer-urls=${peer}`,
    `--initial-advertise-peer-urls=${peer}`,
    `--initial-cluster=default=${peer}`,
    "--unsafe-no-fsync", // nothing of it has to outlive the test
    "--log-level=error",
  ];
  return startProcess(t, "setpriv", { args: ["--pdeathsig=KILL", "--", program("etcd"), ...args], killAfterMs: lifeMs });
}

function apiServerArgs(folder: string, host: string, port: number, etcdPort: number): readonly string[] {
  return [
    `--etcd-servers=http://127.0.0.1:${etcdPort}`,
    `--bind-address=${host}`,
    `--external-hostname=${host}`,
    `--secure-port=${port}`,
    `--tls-cert-file=${join(folder, "apiserver.crt")}`,
    `--tls-private-key-file=${join(folder, "apiserver.key")}`,
    `--token-auth-file=${join(folder, "tokens.csv")}`,
    "--authorization-mode=RBAC",
    "--service-account-issuer=https://kubernetes.default.svc",
    `--service-account-key-file=${join(folder, "accounts.pub")}`,
    `--service-account-signing-key-file=${join(folder, "accounts.key")}`,
    "--service-cluster-ip-range=10.96.0.0/16,fd00:10:96::/112",
    // Webhooks are called at the addresses of their Service's EndpointSlices: nothing routes cluster addresses here.
    "--enable-aggregator-routing=true",
    // It would publish an address of this machine as the endpoint of the Service `kubernetes`.
    "--endpoint-reconciler-type=none",
    "--allow-privileged=true",
    "--profiling=false",
  ];
}

async function waitUntilReady(url: string, { caPem, adminToken }: Keys, apiserver: HelperProcess, log: () => string): Promise<void> {
  const deadlineMs = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    const { child } = apiserver;
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(`kube-apiserver ended with ${child.exitCode}:\n${log()}`);
    if ((await statusOf(`${url}/readyz`, caPem, adminToken)) === 200) return;
    if (Date.now() > deadlineMs) throw new Error(`kube-apiserver is not ready after ${START_TIMEOUT_MS / 1000} s:\n${log()}`);
    await new Promise((done) => setTimeout(done, 100));
  }
}

/** 0 when there was no answer. */
function statusOf(url: string, ca: string, token: string): Promise<number> {
  return new Promise((done) => {
    const headers = { authorization: `Bearer ${token}` };
    const sent = request(url, { ca, headers, agent: false, timeout: 2_000 }, (response) => {
      response.resume();
      done(response.statusCode ?? 0);
    });
    sent.on("timeout", () => sent.destroy());
    sent.on("error", () => done(0));
    sent.end();
  });
}

function formatKubeconfig(server: string, caPem: string, token: string): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "test", cluster: { server, "certificate-authority-data": Buffer.from(caPem).toString("base64") } }],
    users: [{ name: "test", user: { token } }],
    contexts: [{ name: "test", context: { cluster: "test", user: "test" } }],
    "current-context": "test",
  });
}

function runKubectl(
  args: readonly string[],
  { kubeconfig, stdin }: { readonly kubeconfig: string; readonly stdin?: string },
  home: string,
): Promise<KubectlResult> {
  return new Promise((done) => {
    const options = {
      timeout: KUBECTL_TIMEOUT_MS,
      maxBuffer: 64 * 1024 * 1024,
      env: { PATH: process.env["PATH"], HOME: home, KUBECONFIG: kubeconfig },
    };
    const child = execFile(program("kubectl"), [...args], options, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === "number" ? error.code : -1;
      done({ code, stdout, stderr: code === -1 ? `${stderr}${error?.message}` : stderr });
    });
    child.stdin?.on("error", () => {}); // kubectl may end before it has read everything
    child.stdin?.end(stdin ?? "");
  });
}

function program(name: (typeof KUBERNETES_PROGRAMS)[number]): string {
  const path = findProgram(name);
  if (path === null) throw new Error(`there is no ${name}: .ci/kubernetes builds it, and KUBEBUILDER_ASSETS names the folder`);
  return path;
}

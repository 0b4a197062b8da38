// Where the Kubernetes API is and how one proves who one is there: the pod's service account, or a kubeconfig. What changes while we run (a projected
// token, every hour) is read again.
import { access, readFile } from "node:fs/promises";
import type { RequestOptions } from "node:https";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import type { KubeConfig } from "@kubernetes/client-node";
import type { Environment } from "../../core/config.ts";
import { ConfigError } from "../../core/errors.ts";
import { contextOf, type Fields, type KubeconfigFile, type Kubeconfig, mergeKubeconfigs } from "./kubeconfig.ts";

/** TLS of a request. */
export type KubeTls = Pick<RequestOptions, "ca" | "cert" | "key" | "rejectUnauthorized" | "servername">;

/** Asked for each request. */
export type KubeAccess = () => Promise<{
  readonly server: string;
  readonly tls: KubeTls;
  readonly headers: Readonly<Record<string, string>>;
}>;

const SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";
/** How long a file that was read is believed. */
const FILE_AGE_MS = 60_000;

/** Where to look. */
export interface AccessOptions {
  /** Text of a kubeconfig; beats everything else. */
  readonly kubeconfig?: string;
  readonly env: Environment;
  /** Context of the kubeconfig; without it the current one. */
  readonly context?: string;
}

/** Access, and what else a person's kubeconfig says. */
export interface KubeContext {
  readonly access: KubeAccess;
  /** Where the API is. */
  readonly server: string;
  /** Namespace of the context; null where it names none. */
  readonly namespace: string | null;
}

/** The access of {@link findKubeContext}. */
export async function findKubeAccess(options: AccessOptions): Promise<KubeAccess> {
  return (await findKubeContext(options)).access;
}

/**
 * The given kubeconfig, else those of `KUBECONFIG`, else the pod's service account, else the user's kubeconfig. @throws ConfigError when there is none,
 * or when it has no such context
 */
export async function findKubeContext({ kubeconfig, env, context }: AccessOptions): Promise<KubeContext> {
  if (kubeconfig !== undefined) return accessOfKubeconfigs([{ text: kubeconfig, folder: process.cwd() }], context);
  const named = (env["KUBECONFIG"] ?? "").split(":").filter((path) => path !== "");
  if (named.length > 0) return accessOfKubeconfigs(await readFiles(named), context);
  const host = env["KUBERNETES_SERVICE_HOST"];
  // Before the home folder: the user of a container has none, and asking for it fails.
  if (host !== undefined && (await isThere(join(SERVICE_ACCOUNT, "token"))))
    return accessOfPod(host, env["KUBERNETES_SERVICE_PORT"] ?? "443");
  const usual = join(homedir(), ".kube", "config");
  if (await isThere(usual)) return accessOfKubeconfigs(await readFiles([usual]), context);
  throw new ConfigError("invalid_settings", `there is no kubeconfig (KUBECONFIG, ${usual}), and no service account of a pod`);
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** Those that are there, as kubectl has it; one of them has to be. */
async function readFiles(paths: readonly string[]): Promise<readonly KubeconfigFile[]> {
  const files: KubeconfigFile[] = [];
  let failure: ConfigError | null = null;
  for (const path of paths) {
    try {
      files.push({ text: await readFile(path, "utf8"), folder: dirname(resolve(path)) });
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      failure = new ConfigError("invalid_settings", `KUBECONFIG: ${path} cannot be read: ${why}`, { cause });
      if ((cause as NodeJS.ErrnoException).code !== "ENOENT") throw failure;
    }
  }
  if (files.length === 0 && failure !== null) throw failure;
  return files;
}

function accessOfPod(host: string, port: string): KubeContext {
  const server = `https://${host.includes(":") ? `[${host}]` : host}:${port}`;
  const token = rereadFile(join(SERVICE_ACCOUNT, "token"));
  const ca = rereadFile(join(SERVICE_ACCOUNT, "ca.crt"));
  return { access: async () => ({ server, tls: { ca: await ca() }, headers: bearer(await token()) }), server, namespace: null };
}

/** What of a login a kubeconfig may hold that is understood here; anything else is left to the client library. */
const KNOWN_LOGIN: ReadonlySet<string> = new Set([
  "token",
  "tokenFile",
  "client-certificate",
  "client-certificate-data",
  "client-key",
  "client-key-data",
]);

async function accessOfKubeconfigs(files: readonly KubeconfigFile[], asked?: string): Promise<KubeContext> {
  const config = mergeKubeconfigs(files);
  const { server, cluster, user, namespace } = contextOf(config, asked);
  if (Object.keys(user).some((key) => !KNOWN_LOGIN.has(key)) || cluster["proxy-url"] !== undefined)
    return { access: await accessOfLibrary(config, asked), server, namespace };
  const [ca, cert, key] = await Promise.all([
    dataOrFile(cluster, "certificate-authority"),
    dataOrFile(user, "client-certificate"),
    dataOrFile(user, "client-key"),
  ]);
  const tls: KubeTls = {
    ...(ca === null ? {} : { ca }),
    ...(cert === null ? {} : { cert }),
    ...(key === null ? {} : { key }),
    ...(cluster["insecure-skip-tls-verify"] === true ? { rejectUnauthorized: false } : {}),
    ...(typeof cluster["tls-server-name"] === "string" ? { servername: cluster["tls-server-name"] } : {}),
  };
  const { token, tokenFile } = user;
  if (typeof tokenFile === "string") {
    const read = rereadFile(tokenFile);
    return { access: async () => ({ server, tls, headers: bearer(await read()) }), server, namespace };
  }
  const headers = typeof token === "string" ? bearer(token) : {};
  return { access: async () => ({ server, tls, headers }), server, namespace };
}

async function accessOfLibrary(merged: Kubeconfig, context?: string): Promise<KubeAccess> {
  const { KubeConfig } = await import("@kubernetes/client-node");
  const config = new KubeConfig();
  config.loadFromString(JSON.stringify(merged));
  if (context !== undefined) config.setCurrentContext(context);
  return accessOfConfig(config);
}

/** Access by a configuration that the client library has loaded. */
function accessOfConfig(config: KubeConfig): KubeAccess {
  return async () => {
    const cluster = config.getCurrentCluster();
    if (cluster === null) throw new ConfigError("invalid_settings", "the kubeconfig names no cluster");
    const options: RequestOptions = { headers: {} };
    await config.applyToHTTPSOptions(options);
    const { ca, cert, key, rejectUnauthorized, servername, headers } = options;
    const given = { ca, cert, key, rejectUnauthorized, servername };
    const tls = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as KubeTls;
    return { server: cluster.server, tls, headers: (headers ?? {}) as Readonly<Record<string, string>> };
  };
}

/** `KEY-data` in base64, or the file that `KEY` names. */
async function dataOrFile(from: Fields, key: string): Promise<string | null> {
  const data = from[`${key}-data`];
  if (typeof data === "string" && data !== "") return Buffer.from(data, "base64").toString("utf8");
  const path = from[key];
  return typeof path === "string" && path !== "" ? readFile(path, "utf8") : null;
}

function rereadFile(path: string): () => Promise<string> {
  let held = "";
  let readAtMs = Number.NEGATIVE_INFINITY;
  return async () => {
    if (performance.now() - readAtMs < FILE_AGE_MS) return held;
    held = await readFile(path, "utf8");
    readAtMs = performance.now();
    return held;
  };
}

function bearer(token: string): Readonly<Record<string, string>> {
  return { authorization: `Bearer ${token.trim()}` };
}

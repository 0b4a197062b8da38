// What `remora explain` reads from a cluster, with the rights of the user's own kubeconfig: plain JSON as the API server stores it, because a client
// library's own classes are not what a webhook is sent. What the user may not read is said and taken as unknown.
import { request as httpRequest, type RequestOptions } from "node:http";
import { request as httpsRequest } from "node:https";
import { loadConfig } from "../../core/config.ts";
import { environmentName } from "../../core/setting.ts";
import { ConfigError } from "../../core/errors.ts";
import { createClusterApi } from "../../injector/cluster-api.ts";
import { accessOfConfig } from "../../injector/kube-access.ts";
import { createKubeHttp } from "../../injector/kube-http.ts";
import { readSurroundings } from "../../injector/cluster-view.ts";
import { INJECTOR_SERVICE } from "../../injector/injector.ts";
import { defaultInjectorSettings, type InjectorSettings } from "../../injector/settings.ts";
import type { Surroundings } from "../../injector/surroundings.ts";
import { injectorSettings, toInjectorSettings } from "../control/injector-config.ts";
import { buildInfo } from "../../core/build-info.ts";

const CALL_TIMEOUT_MS = 10_000;
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;
const CONTROL_SERVICE = "remora-control:admin";
const TRUST_CONFIG_MAP = "remora-trust";

/** Which cluster, as whom. */
export interface ClusterFlags {
  readonly kubeconfig?: string;
  readonly context?: string;
}

/** A cluster that answers. */
export interface Cluster {
  /** Namespace of the kubeconfig's context; "default" where it names none. */
  readonly namespace: string;
  /** The object at a path of the API, null when there is none. Rejects with a sentence. */
  get(path: string): Promise<unknown>;
  /** Through the API server to the control plane's admin port. */
  controlPlane(controlNamespace: string): (path: string) => Promise<unknown>;
  surroundings(namespace: string, controlNamespace: string, note: (sentence: string) => void): Promise<Surroundings>;
}

/** Loads the kubeconfig. @throws ConfigError when it cannot be used */
export async function connectCluster({ kubeconfig, context }: ClusterFlags): Promise<Cluster> {
  const { KubeConfig } = await import("@kubernetes/client-node");
  const config = new KubeConfig();
  try {
    if (kubeconfig === undefined) config.loadFromDefault();
    else config.loadFromFile(kubeconfig);
  } catch (cause) {
    throw new ConfigError("invalid_settings", `cannot use the kubeconfig: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
  }
  if (context !== undefined) {
    if (config.getContextObject(context) === null)
      throw new ConfigError("invalid_settings", `the kubeconfig has no context ${JSON.stringify(context)}`);
    config.setCurrentContext(context);
  }
  const cluster = config.getCurrentCluster();
  if (cluster === null) throw new ConfigError("invalid_settings", "the kubeconfig names no cluster");
  const server = cluster.server.replace(/\/$/, "");

  async function get(path: string): Promise<unknown> {
    const options: RequestOptions = { headers: { accept: "application/json" }, timeout: CALL_TIMEOUT_MS };
    if (server.startsWith("https:")) await config.applyToHTTPSOptions(options);
    return fetchJson(`${server}${path}`, options, path);
  }

  return {
    namespace: config.getContextObject(config.getCurrentContext())?.namespace ?? "default",
    get,
    controlPlane: (namespace) => async (path) => {
      const found = await get(`/api/v1/namespaces/${encodeURIComponent(namespace)}/services/${CONTROL_SERVICE}/proxy${path}`);
      if (found === null) throw new Error(`the API server finds no Service ${namespace}/remora-control, or no pod behind it`);
      return found;
    },
    surroundings: (namespace, controlNamespace, note) =>
      readSurroundings(createClusterApi(createKubeHttp(accessOfConfig(config)), controlNamespace), namespace, note),
  };
}

/** The settings of the injector in the cluster, read from its Deployment; what cannot be read is as it is by default, which `note` is told. */
export async function readInstalledSettings(
  cluster: Cluster,
  controlNamespace: string,
  note: (sentence: string) => void,
): Promise<InjectorSettings> {
  const usual: InjectorSettings = {
    ...defaultInjectorSettings(buildInfo().version),
    controlNamespace,
    controlAddress: `remora-control.${controlNamespace}.svc:15010`,
  };
  const place = `Deployment ${controlNamespace}/${INJECTOR_SERVICE}`;
  try {
    const found = await cluster.get(`/apis/apps/v1/namespaces/${encodeURIComponent(controlNamespace)}/deployments/${INJECTOR_SERVICE}`);
    if (found === null) {
      note(`there is no ${place}, so its settings are taken as the defaults`);
      return usual;
    }
    const trustPins = await readPins(cluster, controlNamespace, note);
    return { ...settingsOf(found, controlNamespace, trustPins), ...versionOf(found, note) };
  } catch (error) {
    note(`${place} cannot be read, so its settings are taken as the defaults: ${error instanceof Error ? error.message : String(error)}`);
    return usual;
  }
}

function settingsOf(deployment: unknown, controlNamespace: string, trustPins: readonly string[]): InjectorSettings {
  const names = new Set(Object.entries(injectorSettings).map(([key, setting]) => environmentName(key, setting)));
  const env = environmentOf(deployment);
  const known = Object.fromEntries(Object.entries(env).filter(([name]) => names.has(name)));
  return toInjectorSettings(loadConfig("the injector", injectorSettings, known), {
    controlNamespace,
    trustDomain: env["REMORA_TRUST_DOMAIN"] ?? "cluster.local",
    trustPins,
    controlAddress: env["REMORA_CONTROL_ADDRESS"] ?? null,
  });
}

/** The version of the control plane is the tag of its image, where that is one. */
function versionOf(deployment: unknown, note: (sentence: string) => void): { readonly version?: string } {
  const own = buildInfo().version;
  const image = containerOf(deployment)["image"];
  const tag = typeof image === "string" ? /:(\d+\.\d+\.\d+[^@/:]*)(?:@|$)/.exec(image)?.[1] : undefined;
  if (tag === undefined || tag === own) return {};
  note(`the injector runs ${tag}, this command is ${own}: it may decide differently`);
  return { version: tag };
}

async function readPins(cluster: Cluster, controlNamespace: string, note: (sentence: string) => void): Promise<readonly string[]> {
  try {
    const found = await cluster.get(`/api/v1/namespaces/${encodeURIComponent(controlNamespace)}/configmaps/${TRUST_CONFIG_MAP}`);
    const pins = (found as { readonly data?: Readonly<Record<string, string>> } | null)?.data?.["pin"] ?? "";
    return pins
      .split(",")
      .map((pin) => pin.trim())
      .filter((pin) => pin !== "");
  } catch (error) {
    note(`the mesh's roots cannot be read, so REMORA_TRUST_PIN is left out: ${error instanceof Error ? error.message : String(error)}`);
    return [];
  }
}

function environmentOf(deployment: unknown): Readonly<Record<string, string>> {
  const env = containerOf(deployment)["env"];
  const entries = (Array.isArray(env) ? env : []) as readonly { readonly name: string; readonly value?: string }[]; // the API server checked it
  return Object.fromEntries(entries.flatMap(({ name, value }) => (value === undefined ? [] : [[name, value] as const])));
}

function containerOf(deployment: unknown): Readonly<Record<string, unknown>> {
  const spec = (deployment as { readonly spec?: { readonly template?: { readonly spec?: { readonly containers?: readonly object[] } } } })
    .spec;
  return (spec?.template?.spec?.containers?.[0] ?? {}) as Readonly<Record<string, unknown>>;
}

function fetchJson(url: string, options: RequestOptions, what: string): Promise<unknown> {
  const send = url.startsWith("https:") ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    const sent = send(url, options, (response) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      response.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > MAX_ANSWER_BYTES) response.destroy(new Error(`${what}: the answer is larger than ${MAX_ANSWER_BYTES} bytes`));
        else chunks.push(chunk);
      });
      response.on("error", reject);
      response.on("end", () => {
        const status = response.statusCode ?? 0;
        const text = Buffer.concat(chunks).toString("utf8");
        if (status === 404) resolve(null);
        else if (status < 200 || status > 299) reject(new Error(refusalOf(status, text)));
        else resolve(JSON.parse(text));
      });
    });
    sent.on("timeout", () => sent.destroy(new Error(`no answer within ${CALL_TIMEOUT_MS / 1000} s`)));
    sent.on("error", (cause) =>
      reject(new Error(`the API server cannot be asked for ${what}: ${cause.message || String(cause)}`, { cause })),
    );
    sent.end();
  });
}

/** The API server says in words what it refuses. */
function refusalOf(status: number, text: string): string {
  try {
    const { message } = JSON.parse(text) as { readonly message?: unknown };
    if (typeof message === "string" && message !== "") return `the API server answers ${status}: ${message.slice(0, 500)}`;
  } catch {
    // not JSON: the status has to be enough
  }
  return `the API server answers ${status}`;
}

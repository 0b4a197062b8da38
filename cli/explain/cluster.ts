// What `remora explain` reads from a cluster, with the rights of the user's own kubeconfig: plain JSON as the API server stores it, because a client
// library's own classes are not what a webhook is sent. What the user may not read is said and taken as unknown.
import { systemClock } from "../../core/clock.ts";
import { loadConfig } from "../../core/config.ts";
import { environmentName } from "../../core/setting.ts";
import { type ClusterApi, call, createClusterApi } from "../../injector/cluster/cluster-api.ts";
import { findKubeContext } from "../../injector/cluster/kube-access.ts";
import { createKubeHttp } from "../../injector/cluster/kube-http.ts";
import { readPlatform } from "../../injector/cluster/cluster-facts.ts";
import { readSurroundings } from "../../injector/cluster/cluster-view.ts";
import { PLATFORM_CONFIG_MAP } from "../../injector/platform/platform.ts";
import { INJECTOR_SERVICE } from "../../injector/injector.ts";
import { credentialBy, findRegistries } from "../../injector/rollout/find-registries.ts";
import type { FetchJson } from "../../injector/rollout/registry-reader.ts";
import { defaultInjectorSettings, type InjectorSettings } from "../../injector/settings.ts";
import type { Surroundings } from "../../injector/surroundings.ts";
import { injectorSettings, toInjectorSettings } from "../control/injector-config.ts";
import { buildInfo } from "../../core/build-info.ts";

const NOT_FOUND = 404;
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
  /** The registry's replicas by name, asked through the API server. */
  registries(controlNamespace: string): Promise<ReadonlyMap<string, FetchJson>>;
  surroundings(namespace: string, controlNamespace: string, note: (sentence: string) => void): Promise<Surroundings>;
}

/** Reads the kubeconfig. @throws ConfigError when it cannot be used */
export async function connectCluster({ kubeconfig, context }: ClusterFlags): Promise<Cluster> {
  // As if the variable named it, so that paths in it are relative to it.
  const env = kubeconfig === undefined ? process.env : { KUBECONFIG: kubeconfig };
  const { access, namespace } = await findKubeContext({ env, ...(context === undefined ? {} : { context }) });
  const http = createKubeHttp(access);
  return {
    namespace: namespace ?? "default",
    get: (path) => call(`read ${path.split("?", 1)[0]}`, () => http.call("GET", path), [NOT_FOUND]),
    registries: (controlNamespace) =>
      findRegistries(
        http,
        controlNamespace,
        "proxy",
        credentialBy(http, controlNamespace, () => systemClock.monoMs()),
      ),
    surroundings: (name, controlNamespace, note) =>
      readSurroundings(withReadablePlatform(createClusterApi(http, controlNamespace), note), name, note),
  };
}

/** A ConfigMap with mistakes is what is to be explained, not what ends the explanation. */
function withReadablePlatform(api: ClusterApi, note: (sentence: string) => void): ClusterApi {
  return {
    ...api,
    async platform(page) {
      const found = await api.platform(page);
      const [configMap] = found.items;
      const platform = configMap === undefined ? null : readPlatform(configMap);
      if (platform === null || !("mistakes" in platform)) return found;
      const place = `ConfigMap ${api.controlNamespace}/${PLATFORM_CONFIG_MAP}`;
      note(
        `${place} has mistakes, so the injector goes by what it said before; here it is taken as empty: ${platform.mistakes.replace(/\s+/g, " ")}`,
      );
      return { ...found, items: [] };
    },
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

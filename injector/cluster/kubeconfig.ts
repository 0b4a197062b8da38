// What a kubeconfig says: its contexts, and the cluster and user of each. Several files are one as for kubectl: of what comes in two of them the first holds.
// https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/#merging-kubeconfig-files
import { resolve } from "node:path";
import { parse } from "yaml";
import { ConfigError } from "../../core/errors.ts";
import { fieldsOf, itemsOf } from "../pod/loose-fields.ts";

/** One file. */
export interface KubeconfigFile {
  readonly text: string;
  /** What its paths are relative to. */
  readonly folder: string;
}

/** The fields of an object, unchecked. */
export type Fields = Readonly<Record<string, unknown>>;

/** A context with what it names. */
export interface Context {
  /** Of its cluster. */
  readonly server: string;
  readonly cluster: Fields;
  readonly user: Fields;
  /** Null where it names none. */
  readonly namespace: string | null;
}

/** All files as one, in JSON's values; paths are absolute. */
export type Kubeconfig = Readonly<Record<"contexts" | "clusters" | "users", readonly Fields[]>> & { readonly "current-context": unknown };

const CLUSTER_PATHS = ["certificate-authority"];
const USER_PATHS = ["client-certificate", "client-key", "tokenFile"];

/** Reads files as one. @throws ConfigError for one that is no YAML */
export function mergeKubeconfigs(files: readonly KubeconfigFile[]): Kubeconfig {
  const configs = files.map(({ text, folder }) => ({ config: fieldsOf(readYaml(text)), folder }));
  const list = (name: string, kind: string, paths: readonly string[]) =>
    configs.flatMap(({ config, folder }) =>
      itemsOf(config[name]).map((item) => ({ ...fieldsOf(item), [kind]: absolute(fieldsOf(fieldsOf(item)[kind]), paths, folder) })),
    );
  return {
    contexts: list("contexts", "context", []),
    clusters: list("clusters", "cluster", CLUSTER_PATHS),
    users: list("users", "user", USER_PATHS),
    "current-context": configs.map(({ config }) => config["current-context"]).find((name) => typeof name === "string" && name !== ""),
  };
}

/** The context `asked`, or the current one. @throws ConfigError when there is none of that name, or its cluster has no server */
export function contextOf(config: Kubeconfig, asked: string | undefined): Context {
  const found = entry(config.contexts, asked ?? config["current-context"]);
  if (asked !== undefined && found === undefined)
    throw new ConfigError("invalid_settings", `the kubeconfig has no context ${JSON.stringify(asked.slice(0, 100))}`);
  const context = fieldsOf(found?.["context"]);
  const cluster = fieldsOf(entry(config.clusters, context["cluster"])?.["cluster"]);
  const user = fieldsOf(entry(config.users, context["user"])?.["user"]);
  const { server } = cluster;
  if (typeof server !== "string")
    throw new ConfigError("invalid_settings", "the kubeconfig's current context names no cluster with a server");
  return { server, cluster, user, namespace: typeof context["namespace"] === "string" ? context["namespace"] : null };
}

function readYaml(text: string): unknown {
  try {
    return parse(text);
  } catch (cause) {
    const [why] = (cause as Error).message.split("\n", 1);
    throw new ConfigError("invalid_settings", `the kubeconfig is no YAML: ${why}`, { cause });
  }
}

function absolute(object: Fields, paths: readonly string[], folder: string): Fields {
  const named = paths.flatMap((key) => {
    const path = object[key];
    return typeof path === "string" && path !== "" ? [[key, resolve(folder, path)] as const] : [];
  });
  return { ...object, ...Object.fromEntries(named) };
}

function entry(list: readonly Fields[], name: unknown): Fields | undefined {
  return list.find((item) => item["name"] === name);
}

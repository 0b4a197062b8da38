// What one of our manifests sets for Node and the memory allocator, so that what is measured is what a cluster runs.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";

interface Deployment {
  readonly kind?: string;
  readonly spec?: {
    readonly template?: {
      readonly spec?: { readonly containers?: readonly { readonly env?: readonly { readonly name: string; readonly value?: string }[] }[] };
    };
  };
}

/** The variables of the container of `component` that are no settings of ours, from the manifests in the bundle `dist`. */
export async function manifestEnv(dist: string, component: "control" | "injector"): Promise<NodeJS.ProcessEnv> {
  const text = await readFile(join(dist, "manifests", "base", `${component}.yaml`), "utf8");
  const objects = parseAllDocuments(text).map((document) => document.toJS() as Deployment);
  const deployment = objects.find(({ kind }) => kind === "Deployment");
  const variables = deployment?.spec?.template?.spec?.containers?.[0]?.env ?? [];
  return Object.fromEntries(variables.filter(({ name }) => !name.startsWith("REMORA_")).map(({ name, value }) => [name, value]));
}

// The configurations of the peers are files in peers/, as their users would write them; `{{name}}` stands for what differs from run to run.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Traffic } from "./contender.ts";

const PEERS = join(import.meta.dirname, "peers");

/** What the name of a peer's configuration for `traffic` ends in. */
export function configSuffix(traffic: Traffic): string {
  return { http: "", tcp: "-tcp", grpc: "-grpc" }[traffic];
}

/** Writes peers/`name` to `path` with every `{{key}}` replaced. Rejects when the file asks for a key that is not in `values`. */
export async function writePeerConfig(name: string, path: string, values: Readonly<Record<string, string | number>>): Promise<void> {
  const template = await readFile(join(PEERS, name), "utf8");
  const filled = template.replace(/\{\{(\w+)\}\}/g, (_whole, key: string) => {
    const value = values[key];
    if (value === undefined) throw new Error(`peers/${name} asks for {{${key}}}, which is not set`);
    return String(value);
  });
  await writeFile(path, filled);
}

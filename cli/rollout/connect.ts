// How a rollout's command reaches the mesh: the API server by kubeconfig, and the registry straight or through it.
import { readFile } from "node:fs/promises";
import { defaultPlatform, type Platform, parsePlatform } from "../../injector/platform/platform.ts";
import type { Fleet } from "../../injector/rollout/fleet.ts";
import { environmentCredential } from "../environment-credential.ts";
import { fetchFrom } from "../../injector/rollout/registry-http.ts";
import { readRegistry } from "../../injector/rollout/registry-reader.ts";
import { connectRolloutApi, type RolloutApi } from "../../injector/rollout/rollout-api.ts";
import type { RolloutFlags } from "../rollout-command.ts";

const CHANNEL_ANNOTATION = "remora.io/channel";

/** What the commands work with. */
export interface RolloutMesh {
  readonly api: RolloutApi;
  platform(): Promise<Platform>;
  /** Pods and instances now. Replicas of the registry that do not answer are told of on stderr, once each. */
  fleet(): Promise<Fleet>;
}

/** Connects; nothing is asked yet. */
export async function connectMesh({ kubeconfig, controlNamespace, registry }: RolloutFlags): Promise<RolloutMesh> {
  const options = kubeconfig === undefined ? {} : { kubeconfig: await readFile(kubeconfig, "utf8") };
  const api = await connectRolloutApi(controlNamespace, { env: process.env, ...options });
  const credential = environmentCredential(process.env);
  const told = new Set<string>();
  const replicas = async () =>
    registry === undefined ? api.registries("proxy") : new Map(registry.map((base) => [base, fetchFrom(base, credential)] as const));
  return {
    api,
    async platform() {
      const text = await api.readPlatform();
      return text === "" ? defaultPlatform : parsePlatform(text);
    },
    async fleet() {
      const [pods, namespaceChannels, reading] = await Promise.all([
        api.pods(),
        api.namespaceAnnotations(CHANNEL_ANNOTATION),
        replicas().then(readRegistry),
      ]);
      for (const problem of reading.problems) {
        if (!told.has(problem)) process.stderr.write(`remora rollout: a registry does not answer: ${problem}\n`);
        told.add(problem);
      }
      return { pods, namespaceChannels, instances: reading.instances };
    },
  };
}

/** Prints a result: the object as JSON, or its text. */
export function print(flags: RolloutFlags, result: object, text: string): void {
  process.stdout.write(flags.output === "json" ? `${JSON.stringify(result, null, 2)}\n` : `${text}\n`);
}

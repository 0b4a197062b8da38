// The role `injector`: stateless, so that any number of replicas run; what they share is kept by the API server.
import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { INJECTOR_SERVICE, type Injector, startInjector } from "../../../injector/injector.ts";
import { connectInjectorKubernetes } from "../../../injector/cluster/kubernetes.ts";
import { ownCredential } from "../../../injector/rollout/read-credential.ts";
import { fetchFrom } from "../../../injector/rollout/registry-http.ts";
import { connectRolloutApi } from "../../../injector/rollout/rollout-api.ts";
import { type Overseer, startOverseer } from "../../../injector/watchdog/overseer.ts";
import { toInjectorSettings } from "../injector-config.ts";
import { listening } from "../listening.ts";
import type { Checks, RoleSurroundings } from "./role.ts";

/** Replicas need not agree on it: what it makes stands in the pod. */
const HOOK_KEY_BYTES = 32;

/** The running role. */
export interface InjectorRole {
  readonly port: number;
  readonly checks: Checks;
  /** What has to be there before a pod can be judged; empty when it can. */
  waitingFor(): readonly string[];
  close(): Promise<void>;
}

/** Makes or fetches the webhook's certificate, publishes it, and listens. */
export async function startInjectorRole(surroundings: RoleSurroundings): Promise<InjectorRole> {
  const { config, env, clock, log, metrics, random } = surroundings;
  const api = await connectInjectorKubernetes(
    { namespace: config.controlNamespace, webhook: INJECTOR_SERVICE, service: INJECTOR_SERVICE },
    { env },
  );
  const injector = await listening("REMORA_WEBHOOK_PORT", config.bindAddress, config.webhookPort, () =>
    startInjector({
      host: config.bindAddress,
      port: config.webhookPort,
      settings: {
        ...toInjectorSettings(config, { ...config, trustPins: config.trustPin }),
        hookKey: randomBytes(HOOK_KEY_BYTES).toString("hex"),
      },
      shared: { kind: "kubernetes", api },
      clients: config.webhookClientCa === null ? null : { file: config.webhookClientCa, names: config.webhookClientNames },
      instance: hostname(),
      random,
      clock,
      log,
      metrics,
    }),
  );
  const overseer = await openOverseer(surroundings, injector);
  return {
    port: injector.port,
    checks: {
      injector: () => injector.health(),
      ...(overseer === null ? {} : { overseer: () => describeTrouble(overseer.trouble()) }),
    },
    waitingFor() {
      const { status, message = "injector" } = injector.health();
      return status === "down" ? [message] : [];
    },
    async close() {
      await overseer?.close();
      await injector.close();
    },
  };
}

/** Watches over rollouts and naked pods, with what the injector knows of the cluster. */
async function openOverseer({ config, env, clock, log, metrics, random }: RoleSurroundings, injector: Injector): Promise<Overseer | null> {
  const { view, events } = injector;
  if (view === null || events === null) return null;
  const api = await connectRolloutApi(config.controlNamespace, { env });
  const credential = ownCredential(config.readToken?.reveal() ?? null, config.tokenFile);
  const given = new Map(config.registryUrls.map((base) => [base, fetchFrom(base, credential)] as const));
  return startOverseer({
    api,
    view,
    events,
    settings: toInjectorSettings(config, { ...config, trustPins: config.trustPin }),
    registries: async () => (given.size > 0 ? given : api.registries("direct", credential)),
    holder: `${hostname()}-${randomBytes(4).toString("hex")}`,
    clock,
    random,
    log,
    metrics,
  });
}

/** Pods are injected all the same, so it is never worse than degraded. */
function describeTrouble(message: string | null): ReturnType<Injector["health"]> {
  return message === null ? { status: "ok" } : { status: "degraded", message };
}

// The role `injector`: stateless, so that any number of replicas run; what they share is kept by the API server.
import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { INJECTOR_SERVICE, startInjector } from "../../../injector/injector.ts";
import { connectInjectorKubernetes } from "../../../injector/kubernetes.ts";
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
export async function startInjectorRole({ config, clock, log, metrics, random }: RoleSurroundings): Promise<InjectorRole> {
  const api = await connectInjectorKubernetes({ namespace: config.controlNamespace, webhook: INJECTOR_SERVICE, service: INJECTOR_SERVICE });
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
  return {
    port: injector.port,
    checks: { injector: () => injector.health() },
    waitingFor() {
      const { status, message = "injector" } = injector.health();
      return status === "down" ? [message] : [];
    },
    close: () => injector.close(),
  };
}

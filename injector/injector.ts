// The injector's boot story: certificate, then the trust pins that new sidecars need and the view of the cluster, then the webhook. In Kubernetes all of it is shared with the
// other replicas through the API server; outside, a folder is enough. It holds no state of its own.
import type { Clock } from "../core/clock.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import { eventsOf } from "./webhook/admission-event.ts";
import { startCertificateKeeper } from "./webhook/certificate-keeper.ts";
import { createFileStore } from "./webhook/certificate-store.ts";
import { type ClientsSettings, followWebhookClients } from "./webhook/client-certificate.ts";
import { type ClusterView, startClusterView } from "./cluster/cluster-view.ts";
import { createEventRecorder, type EventRecorder } from "./webhook/events.ts";
import { createJudgement } from "./webhook/judgement.ts";
import type { InjectorKubernetes } from "./cluster/kubernetes.ts";
import type { InjectorSettings } from "./settings.ts";
import { expiresAtMs, serviceNames, withLocalNames } from "./webhook/webhook-certificate.ts";
import { startWebhookServer, type WebhookServer } from "./webhook/webhook-server.ts";

/** Name of the Service, and of the MutatingWebhookConfiguration, in our manifests. */
export const INJECTOR_SERVICE = "remora-injector";
/**
 * In Kubernetes, how long a stopping replica goes on answering: its pod is taken out of the Service at the same time as it is told to stop, and an
 * API server that has not heard of it yet would fail the pod it asks about.
 */
const LINGER_MS = 5_000;
/** How often the roots' pins are read again: a new root is published long before the first leaf chains to it. */
const PINS_PERIOD_MS = 10_000;

/** What the injector works with. */
export interface InjectorOptions {
  readonly host: string;
  /** 0 for any free one; 15017 by convention. */
  readonly port: number;
  /** In Kubernetes `trustPins` are added to those that the CA publishes. */
  readonly settings: InjectorSettings;
  /** Where the certificate lives: the cluster (see `connectInjectorKubernetes`), or a folder on this machine. */
  readonly shared: { readonly kind: "kubernetes"; readonly api: InjectorKubernetes } | { readonly kind: "folder"; readonly path: string };
  /** Name of the Service under which the API server calls; default {@link INJECTOR_SERVICE}. */
  readonly service?: string;
  /** Who may call; null for everybody who reaches the port. */
  readonly clients: ClientsSettings | null;
  /** Name of this replica, in Events. */
  readonly instance: string;
  /** 0..1 */
  readonly random: () => number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** A health answer. */
export interface InjectorHealth {
  readonly status: "ok" | "degraded" | "down";
  readonly message?: string;
}

/** A running injector. */
export interface Injector {
  readonly port: number;
  /** PEM of the CA that the webhook's certificate chains to, for who configures a webhook by hand. */
  caBundle(): string;
  /** What is known of the cluster; null outside of one. */
  readonly view: ClusterView | null;
  /** Where Events on workloads are recorded; null outside of a cluster. */
  readonly events: EventRecorder | null;
  /** `down` while pods cannot be injected; `degraded` when something that they are judged by cannot be refreshed. */
  health(): InjectorHealth;
  /** Answers what is being asked, then stops. */
  close(): Promise<void>;
}

/** Starts the injector; rejects when the certificate cannot be made or published, or the port is taken. Does not wait for the cluster to be known. */
export async function startInjector(options: InjectorOptions): Promise<Injector> {
  const { shared, settings, clock, log, metrics, host, port, service = INJECTOR_SERVICE } = options;
  const inCluster = shared.kind === "kubernetes" ? shared.api : null;
  const own = serviceNames(service, settings.controlNamespace);
  const clients = await followWebhookClients(options.clients, { clock, log });
  let listening: WebhookServer | null = null; // null until the first certificate is there
  const keeper = await startCertificateKeeper({
    store: shared.kind === "kubernetes" ? shared.api.certificates : createFileStore(shared.path),
    publish: inCluster === null ? async () => {} : (bundlePem) => inCluster.publishBundle(bundlePem),
    names: inCluster === null ? withLocalNames(own) : own,
    clock,
    log,
    onChange: (material) => listening?.replaceTls(material, clients.current()),
  });
  const pins = inCluster === null ? null : await followPins(inCluster, options);
  const view = inCluster === null ? null : startClusterView({ api: inCluster.cluster, clock, random: options.random, log, metrics });
  const events =
    inCluster === null ? null : createEventRecorder({ sink: inCluster.events, instance: options.instance, clock, log, metrics });
  const current = () => {
    if (pins === null) return settings;
    const trustPins = [...new Set([...settings.trustPins, ...pins.current()])];
    return trustPins.length === 0 ? { unavailable: NO_PINS } : { ...settings, trustPins };
  };
  const judgement = createJudgement({ settings, current, view });

  async function closeParts(): Promise<void> {
    view?.close();
    pins?.close();
    clients.close();
    await events?.close();
    await keeper.close();
  }

  const server = await startWebhookServer({
    host,
    port,
    tls: keeper.current(),
    clients: clients.current(),
    admit: judgement.admit,
    validate: judgement.validate,
    onAdmission(review, admission) {
      if (events !== null) for (const event of eventsOf(review, admission)) events.record(event);
    },
    clock,
    log,
    metrics,
  }).catch(async (error: unknown) => {
    await closeParts();
    throw error;
  });
  listening = server;
  clients.onChange((changed) => server.replaceTls(keeper.current(), changed));
  metrics.gauge({
    name: "remora_webhook_cert_expires_seconds",
    help: "Time until the webhook's certificate ends; it is replaced at two thirds of its life.",
    read: () => (expiresAtMs(keeper.current()) - clock.nowMs()) / 1000,
  });
  return {
    port: server.port,
    view,
    events,
    caBundle: () => keeper.current().caBundlePem,
    health() {
      const now = current();
      const missing = "unavailable" in now ? now.unavailable : (view?.missing() ?? null);
      if (missing !== null) return { status: "down", message: missing };
      const message = keeper.trouble() ?? pins?.trouble() ?? view?.trouble() ?? clients.trouble();
      return message === null ? { status: "ok" } : { status: "degraded", message };
    },
    async close() {
      server.retire();
      if (inCluster !== null) await new Promise<void>((resolve) => clock.after(LINGER_MS, resolve));
      await server.close();
      await closeParts();
    },
  };
}

const NO_PINS = "the CA has not published the mesh's roots, so a new sidecar could trust nobody; is remora-control running?";

interface PinFollower {
  current(): readonly string[];
  trouble(): string | null;
  close(): void;
}

/** Reads the pins now and then again and again; what was read last stays when the API server is away. */
async function followPins(api: InjectorKubernetes, { clock, log }: InjectorOptions): Promise<PinFollower> {
  let pins: readonly string[] = [];
  let trouble: string | null = null;
  let reading = false;

  async function read(): Promise<void> {
    if (reading) return;
    reading = true;
    try {
      const fresh = await api.trustPins();
      // A ConfigMap that was emptied by hand is no reason to break every new pod.
      if (fresh.length > 0) pins = fresh;
      trouble = null;
    } catch (error) {
      trouble = error instanceof Error ? error.message : String(error);
      log.warn({ err: error }, "trust pins cannot be read");
    } finally {
      reading = false;
    }
  }

  await read();
  const ticker = clock.every(PINS_PERIOD_MS, () => void read());
  return { current: () => pins, trouble: () => trouble, close: () => ticker.cancel() };
}

// The role `registry`: which store, which services, who may announce, and whose word is taken for a heartbeat over HTTP.
import { readFileSync } from "node:fs";
import type { CertificateAuthority } from "../../../certs/certificate-authority.ts";
import type { HealthCheck } from "../../../core/admin-server.ts";
import { ConfigError } from "../../../core/errors.ts";
import { createAnnouncePolicy } from "../../../registry/announce-policy.ts";
import type { LeaseStore } from "../../../registry/lease-store.ts";
import { createMemoryStore } from "../../../registry/memory-store.ts";
import { createUtilization } from "../../../registry/pressure.ts";
import { createRegistry, type Registry } from "../../../registry/registry.ts";
import { noServices, type ServiceSource } from "../../../registry/service-source.ts";
import { startServicesFile } from "../../../registry/services-file.ts";
import type { Checks, RoleSurroundings } from "./role.ts";

const JOIN_TOKEN = "rmr1.";

/** What the role needs. */
export interface RegistryRoleOptions extends RoleSurroundings {
  /** Proves the credentials of REST heartbeats; null: there are none. */
  readonly ca: CertificateAuthority | null;
}

/** The running role. */
export interface RegistryRole extends Pick<Registry, "registryImplementation" | "routes" | "begin"> {
  readonly checks: Checks;
  close(): Promise<void>;
}

/** Opens the store and starts the registry. @throws RegistryError when Redis cannot be reached, ConfigError about the services file */
export async function startRegistryRole(options: RegistryRoleOptions): Promise<RegistryRole> {
  const { config, clock, judgedAt, log, metrics, audit, random, limits, ca } = options;
  const services = await openServices(options);
  const store = await openStore(options).catch(async (error: unknown) => {
    await services.close();
    throw error;
  });
  const registry = createRegistry({
    store,
    services,
    mayAnnounce: createAnnouncePolicy({ source: services, kubernetes: config.inKubernetes }),
    clock,
    judgedAt,
    random,
    log,
    metrics,
    audit,
    trustDomain: config.trustDomain,
    limits,
    watchRules: config.watchRoles,
    readers: { readers: config.meshReaders ?? [], token: config.readToken },
    heartbeatIntervalMs: config.heartbeatInterval,
    leaseMs: config.lease,
    utilization: createUtilization(),
    ...(ca === null ? {} : { authenticate: authenticateWith(ca) }),
  });
  return {
    registryImplementation: registry.registryImplementation,
    routes: registry.routes,
    begin: registry.begin,
    checks: {
      registry: () => registry.health(),
      store: () => storeHealth(store),
      services: () => servicesHealth(services),
    },
    async close() {
      await registry.close();
      await store.close();
      await services.close();
    },
  };
}

function authenticateWith(ca: CertificateAuthority) {
  return (token: string) => ca.authenticate({ kind: token.startsWith(JOIN_TOKEN) ? "heartbeat_token" : "service_account_token", token });
}

function storeHealth(store: LeaseStore): HealthCheck {
  const state = store.status();
  return state.status === "ok" ? { status: "ok", message: store.kind } : state;
}

/** Where services are read from: the API server, or a file. */
function servicesHealth(services: ServiceSource): HealthCheck {
  const problem = services.problem();
  return problem === null ? { status: "ok", message: services.kind } : { status: "degraded", ...problem };
}

/** Memory is never a silent substitute for a Redis that was asked for (design 8). */
async function openStore({ config, clock, log, random }: RegistryRoleOptions): Promise<LeaseStore> {
  if (config.redisUrl === null) return createMemoryStore({ clock, leaseMs: config.lease });
  const { startRedisStore } = await import("../../../registry/redis/store.ts");
  const { redisSentinelUser: user, redisSentinelPassword: password } = config;
  return startRedisStore({
    url: config.redisUrl,
    tls: { caPem: readPem(config.redisCaFile), certPem: readPem(config.redisCertFile), keyPem: readPem(config.redisKeyFile) },
    ...(password === null ? {} : { sentinelLogin: { user, password: password.reveal() } }),
    clock,
    random,
    log,
    leaseMs: config.lease,
  });
}

function readPem(path: string | null): string | undefined {
  if (path === null) return undefined;
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new ConfigError("invalid_value", `${path} cannot be read: ${(cause as Error).message}`, { cause });
  }
}

async function openServices({ config, clock, random, log, metrics }: RegistryRoleOptions): Promise<ServiceSource> {
  if (config.servicesFile !== null) return startServicesFile({ path: config.servicesFile, clock, log });
  if (!config.inKubernetes) return noServices;
  const { startKubernetesSource } = await import("../../../registry/kubernetes-source.ts");
  return startKubernetesSource({ clock, random, log, metrics });
}

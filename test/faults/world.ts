// The mesh that faults are done to, each part in a network namespace of its own: the CA, the registry, Redis with a replica, a caller, and two instances of
// an app, all real processes in transparent capture. Outside of Kubernetes, so that join tokens, state files and the services file take part.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { makeToken } from "../../cli/token-command.ts";
import { createTestNetwork, type TestNamespace, type TestNetwork } from "../support/netns.ts";
import { waitForPort } from "../support/processes.ts";
import { until } from "../e2e/until.ts";
import { createDiskPlace } from "./disk-place.ts";
import { type Forwarder, startForwarder } from "./forwarder.ts";
import { Part } from "./part.ts";
import { Traffic } from "./traffic.ts";

const REPOSITORY = resolve(import.meta.dirname, "../..");
const REMORA = join(REPOSITORY, "bin/remora");
const SIDECAR_UID = 1337;
const CONTROL_ADMIN = 15014;
const SIDECAR_ADMIN = 15020;
/** Of both servers, and of the address that leads to one of them. */
export const REDIS_PORT = 6379;
const START_TIMEOUT_MS = 120_000;
/** Of each request. */
export const DEADLINE_MS = 2_000;
/** How long an instance stays known without a heartbeat, and how often it sends one. */
export const LEASE_MS = 3_000;
const HEARTBEAT_MS = 1_000;
const LEAF_TTL_S = 60;
/** Large enough for what the parts keep, small enough to be filled at once. */
const DISK_KIB = 1_024;
/** It rewrites its append-only file now and then. */
const REDIS_DISK_KIB = 16_384;

/** Where the registry keeps leases. */
export type Store = "redis" | "memory";

/** The parts by name. */
export interface Parts {
  readonly ca: Part;
  readonly registry: Part;
  /** The primary; the replica takes over in a failover. */
  readonly redis: Part;
  readonly redisReplica: Part;
  /** Sidecars of the caller and of the two instances. */
  readonly caller: Part;
  readonly sidecarA: Part;
  readonly sidecarB: Part;
  readonly appA: Part;
  readonly appB: Part;
}

/** The name of a part. */
export type PartName = keyof Parts;

/** The running mesh with its traffic. */
export interface World {
  readonly store: Store;
  readonly network: TestNetwork;
  readonly parts: Parts;
  readonly traffic: Traffic;
  /** The process that makes it. */
  readonly client: Part;
  /** Where a part keeps its state: a disk of its own. */
  readonly folders: Readonly<Record<"ca" | "registry" | "redis" | "caller" | "sidecarA" | "sidecarB" | "clocks", string>>;
  readonly servicesFile: string;
  /** The address by which the registry reaches Redis. */
  readonly redisAddress: Forwarder;
  /** Ids of the instances that the registry knows; null while it does not answer. */
  instances(): Promise<readonly string[] | null>;
  /** A caller's sidecar that only joins, in the replica's namespace; not started. */
  spareSidecar(joinToken: string): Part;
  /** Asks the primary by `redis-cli`. */
  redisCli(...words: readonly string[]): string;
  /** A join token of the CA, as `remora token` makes it. */
  joinToken(namespace: string, serviceAccount: string): Promise<string>;
  close(): Promise<void>;
}

/** Starts everything; resolves when traffic flows. On a failure everything is removed again. */
export async function startWorld(store: Store): Promise<World> {
  const network = createTestNetwork();
  const disks = createDiskPlace();
  const all: Part[] = [];
  const closers: (() => void)[] = [() => disks.close(), () => network.close()];
  const part = (...[options]: ConstructorParameters<typeof Part>): Part => {
    const made = new Part(options);
    all.push(made);
    return made;
  };
  async function close(): Promise<void> {
    await Promise.all(all.map((one) => one.kill()));
    for (const run of closers.splice(0)) run();
  }
  try {
    return await build();
  } catch (error) {
    const logs = all.map((one) => `--- ${one.name}\n${one.log.slice(-2_000)}`).join("\n");
    await close();
    throw new Error(`the mesh did not come up: ${(error as Error).message}\n${logs}`, { cause: error });
  }

  async function build(): Promise<World> {
    const spaces = Object.fromEntries(
      ["ca", "registry", "redis", "redis2", "caller", "a", "b"].map((name) => [name, network.addNamespace(name)]),
    ) as Readonly<Record<"ca" | "registry" | "redis" | "redis2" | "caller" | "a" | "b", TestNamespace>>;
    const folders = {
      ca: disks.add("ca", DISK_KIB, 0),
      registry: disks.add("registry", DISK_KIB, 0),
      caller: disks.add("caller", DISK_KIB, SIDECAR_UID),
      sidecarA: disks.add("sidecarA", DISK_KIB, SIDECAR_UID),
      sidecarB: disks.add("sidecarB", DISK_KIB, SIDECAR_UID),
      redis: disks.add("redis", REDIS_DISK_KIB, 0),
      clocks: disks.add("clocks", 64, SIDECAR_UID),
    };
    const address = network.virtualIpv4(1);
    const servicesFile = join(disks.add("services", 64, 0), "services.yaml");
    writeFileSync(servicesFile, servicesYaml(address));

    const common = { REMORA_KUBERNETES: "off", REMORA_LOG_LEVEL: "info" };
    const ca = part({
      name: "ca",
      namespace: spaces.ca,
      argv: [REMORA, "control"],
      env: {
        ...common,
        REMORA_ROLES: "ca",
        REMORA_BIND_ADDRESS: spaces.ca.ipv4,
        REMORA_STATE_DIR: folders.ca,
        REMORA_LEAF_TTL: `${LEAF_TTL_S}s`,
      },
      adminPort: CONTROL_ADMIN,
    });
    const caAddress = `${spaces.ca.ipv4}:15010`;
    const redisParts = [spaces.redis, spaces.redis2].map((namespace, index) =>
      part({
        name: index === 0 ? "redis" : "redis replica",
        namespace,
        argv: redisArgv(namespace, index === 0 ? folders.redis : null, spaces.redis),
        env: {},
        adminPort: null,
        upText: "eady to accept connections",
      }),
    ) as [Part, Part];
    const apps = [spaces.a, spaces.b].map((namespace, index) =>
      part({
        name: `app ${index}`,
        namespace,
        argv: [process.execPath, join(import.meta.dirname, "app.ts")],
        env: {},
        adminPort: null,
        upText: "listening",
      }),
    ) as [Part, Part];
    for (const one of [...redisParts, ...apps, ca]) one.spawn();
    await Promise.all([
      ca.ready(),
      ...[spaces.a, spaces.b, spaces.caller].map((namespace) => capture(namespace)),
      waitForPort(REDIS_PORT, spaces.redis.ipv4, START_TIMEOUT_MS),
    ]);
    const redisAddress = await startForwarder(network.hostIpv4, REDIS_PORT, { host: spaces.redis.ipv4, port: REDIS_PORT });
    closers.unshift(() => redisAddress.close());
    const joinToken = (namespace: string, serviceAccount: string) =>
      makeToken({ stateDir: folders.ca, namespace, serviceAccount, ttlMs: 600_000, purpose: "join" });

    const registry = part({
      name: "registry",
      namespace: spaces.registry,
      argv: [REMORA, "control"],
      env: {
        ...common,
        REMORA_ROLES: "registry",
        REMORA_BIND_ADDRESS: spaces.registry.ipv4,
        REMORA_MESH_READERS: "*",
        REMORA_STATE_DIR: folders.registry,
        REMORA_CONTROL_ADDRESS: caAddress,
        REMORA_JOIN_TOKEN: await joinToken("remora-system", "remora-control"),
        REMORA_SERVICES_FILE: servicesFile,
        REMORA_HEARTBEAT_INTERVAL: `${HEARTBEAT_MS}ms`,
        REMORA_LEASE: `${LEASE_MS}ms`,
        ...(store === "memory" ? {} : { REMORA_STORE: "redis", REMORA_REDIS_URL: `redis://${network.hostIpv4}:${REDIS_PORT}` }),
      },
      adminPort: CONTROL_ADMIN,
    });
    const sidecar = async (name: "caller" | "sidecarA" | "sidecarB", namespace: TestNamespace, service: string): Promise<Part> =>
      part({
        name,
        namespace,
        argv: [REMORA, "sidecar"],
        uid: SIDECAR_UID,
        env: {
          REMORA_SERVICE_ACCOUNT: service,
          REMORA_INSTANCE_ID: name,
          REMORA_POD_IPS: namespace.ipv4,
          REMORA_CONTROL_ADDRESS: `${spaces.registry.ipv4}:15010`,
          REMORA_CA_ADDRESS: caAddress,
          REMORA_JOIN_TOKEN: await joinToken("default", service),
          REMORA_STATE_DIR: folders[name],
          REMORA_ACCESS_LOG: "false",
          ...(service === "app" ? { REMORA_SERVICES: service, REMORA_PORTS: "8080=http1,9090=grpc,7000=tcp" } : {}),
        },
        adminPort: SIDECAR_ADMIN,
      });
    const [caller, sidecarA, sidecarB] = await Promise.all([
      sidecar("caller", spaces.caller, "client"),
      sidecar("sidecarA", spaces.a, "app"),
      sidecar("sidecarB", spaces.b, "app"),
    ]);
    await Promise.all([registry, caller, sidecarA, sidecarB].map((one) => one.start()));

    async function instances(): Promise<readonly string[] | null> {
      const { status, body } = await registry.ask("/api/v1/instances");
      if (status !== 200) return null;
      const parsed = JSON.parse(body) as { readonly instances: readonly { readonly instanceId: string; readonly state: string }[] };
      return parsed.instances.filter(({ state }) => state === "ready").map(({ instanceId }) => instanceId);
    }
    await until("the registry knows every instance", START_TIMEOUT_MS, async () => (await instances())?.length === 3);
    const traffic = new Traffic();
    const client = part({
      name: "client",
      namespace: spaces.caller,
      argv: [process.execPath, join(import.meta.dirname, "client.ts"), address, String(DEADLINE_MS)],
      env: {},
      adminPort: null,
      onLine: traffic.onLine,
    });
    client.spawn();
    if (!(await traffic.isSteady(1_000, START_TIMEOUT_MS))) {
      const { problems } = await traffic.figures(0, Date.now());
      throw new Error(`traffic does not flow: ${problems.join(", ")} ${client.log}`);
    }
    // Not before it is on disk can it be found there again.
    await until("the caller has saved its destinations", START_TIMEOUT_MS, () => existsSync(join(folders.caller, "destinations.json")));
    const [redis, redisReplica] = redisParts;
    const [appA, appB] = apps;
    return {
      store,
      network,
      parts: { ca, registry, redis, redisReplica, caller, sidecarA, sidecarB, appA, appB },
      traffic,
      client,
      folders,
      servicesFile,
      redisAddress,
      instances,
      spareSidecar: (token) =>
        part({
          name: "spare sidecar",
          namespace: spaces.redis2,
          argv: [REMORA, "sidecar"],
          uid: SIDECAR_UID,
          env: {
            REMORA_SERVICE_ACCOUNT: "client",
            REMORA_POD_IPS: spaces.redis2.ipv4,
            REMORA_CONTROL_ADDRESS: `${spaces.registry.ipv4}:15010`,
            REMORA_CA_ADDRESS: caAddress,
            REMORA_JOIN_TOKEN: token,
          },
          adminPort: SIDECAR_ADMIN,
        }),
      redisCli: (...words) => askRedis(redis, words),
      joinToken,
      close,
    };
  }
}

/** With `folder` the primary, which keeps an append-only file there; without it a replica of `primary` that keeps nothing. */
function redisArgv(namespace: TestNamespace, folder: string | null, primary: TestNamespace): readonly string[] {
  const settings = ["--bind", namespace.ipv4, "--port", String(REDIS_PORT), "--protected-mode", "no", "--save", ""];
  const kept = folder === null ? ["--dir", "/tmp"] : ["--dir", folder, "--appendonly", "yes"];
  // A replica that comes back must not wait for its primary to fork.
  const diskless = ["--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0", "--repl-diskless-load", "swapdb"];
  return ["redis-server", ...settings, ...kept, ...diskless, ...(folder === null ? ["--replicaof", primary.ipv4, String(REDIS_PORT)] : [])];
}

/** What `redis-cli` prints. */
export function askRedis(server: Part, words: readonly string[]): string {
  const done = spawnSync("redis-cli", ["-h", server.namespace.ipv4, "-p", String(REDIS_PORT), ...words], {
    encoding: "utf8",
    timeout: 5_000,
  });
  return done.stdout.trim();
}

/** The rules that lead a namespace's traffic through its sidecar. */
function capture(namespace: TestNamespace): Promise<void> {
  return new Promise((done, fail) => {
    const child = spawn("ip", ["netns", "exec", namespace.name, REMORA, "init"], {
      stdio: ["ignore", "pipe", "pipe"],
      timeout: START_TIMEOUT_MS,
    });
    let text = "";
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (more: string) => (text += more));
    child.once("error", fail);
    child.once("exit", (code) => (code === 0 ? done() : fail(new Error(`remora init in ${namespace.name}: ${text}`))));
  });
}

function servicesYaml(address: string): string {
  return `services:
  - name: app
    namespace: default
    virtualAddresses: ["${address}"]
    ports:
      - { port: 80, targetPort: 8080, protocol: http1 }
      - { port: 9090, protocol: grpc }
      - { port: 7000, protocol: tcp }
`;
}

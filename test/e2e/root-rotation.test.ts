// The root of a running mesh is changed under load (design 7): two replicas of the control plane, five sidecars, HTTP and gRPC through them, and the real command for
// each step. No request may fail; one sidecar is stopped during every step and comes back by itself. The figures are in the comments.
import { randomUUID } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { Agent, createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { AuthorityStatus } from "../../certs/authority-status.ts";
import { rotate } from "../../cli/ca/rotate.ts";
import type { RotationAction } from "../../certs/rotation.ts";
import { getJson } from "../../cli/demo/http-call.ts";
import { freePorts } from "../../cli/run/free-ports.ts";
import { sidecarEnv, type Workload } from "../../cli/run/workload.ts";
import { makeToken } from "../../cli/token-command.ts";
import { waitUntilReady } from "../../cli/wait-until-ready.ts";
import { ranRemora, remora, temporaryFolder } from "../cli/remora.ts";
import { echoClient, startEchoServer } from "../support/echo-grpc.ts";
import type { HelperProcess } from "../support/processes.ts";
import { shown, startUnaryLoad } from "../support/unary-load.ts";
import { until } from "./until.ts";

const LEAF_TTL_S = 12;
const PER_SECOND = 40;
const READY_MS = 40_000;
const STEP_MS = 40_000;
t.setTimeout(300_000);

interface Replica {
  readonly grpcPort: number;
  readonly adminPort: number;
}

interface Instance {
  readonly issuedByRoot: string;
  readonly trustedRoots: readonly string[];
  readonly identity: string;
  readonly certExpiresAtMs: number;
}

t.test("three steps under load, and a sidecar that sleeps through each of them", async (t) => {
  const stateDir = temporaryFolder(t);
  const ports = await freePorts(4 + 5 * 3);
  const take = () => ports.pop() as number;
  const replicas = [await startReplica(t, stateDir, take), await startReplica(t, stateDir, take)] as const;
  const http = await startHttpApp(t);
  const echo = await startEchoServer();
  t.teardown(() => echo.close());
  const start = (service: string, replica: Replica, app: number | null, protocol: Workload["protocol"] = "http1") =>
    startSidecar(t, { service, replica, app, protocol, stateDir, ports: [take(), take(), take()] });
  const [web, , , sleeper] = await Promise.all([
    start("web", replicas[0], null),
    start("orders", replicas[0], http),
    start("payments", replicas[0], echo.port, "grpc"),
    start("sleeper", replicas[0], null),
    start("other", replicas[1], null),
  ]);
  const control = replicas.map(({ adminPort }) => `http://127.0.0.1:${adminPort}`);
  // In this process: to start the command anew would take longer than a certificate of this test lives.
  const ca = async (action: RotationAction, wait = 0) => {
    const startedMs = performance.now();
    const code = await quietly(() => rotate(action, { stateDir, control, wait, controlNamespace: "remora-system", output: "json" }));
    t.comment(`remora ca rotate ${action}: ${code}, after ${Math.round(performance.now() - startedMs)} ms`);
    return code;
  };
  const step = async (action: RotationAction) => {
    t.equal(await ca(action, STEP_MS), 0, action);
    for (const { adminPort } of replicas) {
      await until(`${action} is seen`, STEP_MS, async () => (await statusOf(adminPort)).step === STEP_AFTER[action]);
    }
  };
  /** Stops it with a certificate that outlives its sleep: one that joined with a token of one use cannot come back with an expired one. */
  const putToSleep = async () => {
    await until("the sleeper's certificate is new", STEP_MS, async () => {
      const { instances } = await getJson<{ instances: Instance[] }>(replicas[0].adminPort, "/api/v1/instances");
      const own = instances.find(({ identity }) => identity.endsWith("/sleeper"));
      return own !== undefined && own.certExpiresAtMs - Date.now() > LEAF_TTL_S * 1000 * 0.8;
    });
    sleeper.process.signal("SIGSTOP");
  };
  const everywhere = (what: string, isSo: (instance: Instance) => boolean) =>
    until(what, STEP_MS, async () => {
      const all = await Promise.all(replicas.map(({ adminPort }) => getJson<{ instances: Instance[] }>(adminPort, "/api/v1/instances")));
      const instances = all.flatMap(({ instances }) => instances);
      return instances.length === 5 && instances.every(isSo);
    });

  await everywhere("everybody says what is trusted", ({ trustedRoots }) => trustedRoots.length === 1);
  const before = await statusOf(replicas[0].adminPort);
  const old = idOf(before, "signs");
  const load = startLoad(web);
  await t.rejects(ca("issue"), { code: "conflict" }, "a step that does not follow is an error");

  await putToSleep();
  await step("add");
  t.equal(await ca("issue"), 3, "one that sleeps does not trust the new root");
  sleeper.process.signal("SIGCONT");
  await everywhere("both roots are trusted", ({ trustedRoots }) => trustedRoots.length === 2);
  const next = idOf(await statusOf(replicas[0].adminPort), "next");

  await putToSleep();
  await step("issue");
  t.equal(await ca("remove"), 3, "leaves of the old root may live");
  sleeper.process.signal("SIGCONT");
  await everywhere("every leaf is of the new root", ({ issuedByRoot }) => issuedByRoot === next);

  const removing = step("remove");
  await until("the old root is gone", STEP_MS, async () => (await statusOf(replicas[1].adminPort)).step === "steady");
  sleeper.process.signal("SIGSTOP");
  await removing;
  await new Promise((done) => setTimeout(done, 1000));
  sleeper.process.signal("SIGCONT");
  await everywhere("only the new root is trusted", ({ trustedRoots }) => trustedRoots.join() === next);
  // Connections of the old root are left within 5 s, asked to end within 10 s.
  await new Promise((done) => setTimeout(done, 11_000));

  const { http: sent, grpc } = await load.stop();
  t.comment(`HTTP: ${sent.sent} requests, ${sent.failures.length} failed, slowest ${sent.slowestMs} ms; gRPC: ${shown(grpc)}`);
  t.ok(sent.sent > 200 && grpc.calls > 200, "the load was there");
  t.same(sent.failures.slice(0, 5), [], "no HTTP request failed");
  t.same(grpc.failed.slice(0, 5), [], "no gRPC call failed");
  for (const { adminPort } of replicas) {
    const after = await statusOf(adminPort);
    t.same(
      after.roots.map(({ id }) => id),
      [next],
      "the same from either replica",
    );
    t.not(next, old);
  }
  const shownStatus = await ranRemora(t, ["ca", "status", "--state-dir", stateDir, ...control.flatMap((url) => ["--control", url])]);
  t.match(shownStatus.text, /rotation: steady/);
  t.match(shownStatus.text, /5 live workloads/);
  t.equal(countOf(readFileSync(join(stateDir, "ca.crt"), "utf8")), 1);
});

const STEP_AFTER: Readonly<Record<string, AuthorityStatus["step"]>> = { add: "added", issue: "issuing", remove: "steady" };

/** What the command prints is no TAP. */
async function quietly<Value>(run: () => Promise<Value>): Promise<Value> {
  const { write } = process.stdout;
  process.stdout.write = () => true;
  try {
    return await run();
  } finally {
    process.stdout.write = write;
  }
}

function statusOf(adminPort: number): Promise<AuthorityStatus> {
  return getJson<AuthorityStatus>(adminPort, "/api/v1/ca");
}

function idOf({ roots }: AuthorityStatus, role: string): string {
  return roots.find((root) => root.role === role)?.id ?? "";
}

function countOf(pem: string): number {
  return pem.split("BEGIN CERTIFICATE").length - 1;
}

async function startReplica(t: Test, stateDir: string, take: () => number): Promise<Replica> {
  const [grpcPort, adminPort] = [take(), take()];
  const control = remora(t, ["control", "--state-dir", stateDir, "--grpc-port", String(grpcPort), "--admin-port", String(adminPort)], {
    REMORA_LEAF_TTL: `${LEAF_TTL_S}s`,
    REMORA_HEARTBEAT_INTERVAL: "500ms",
    REMORA_LEASE: "30s",
  });
  await control.line(/control plane ready/, READY_MS);
  return { grpcPort, adminPort };
}

interface SidecarOptions {
  readonly service: string;
  readonly replica: Replica;
  readonly app: number | null;
  readonly protocol: Workload["protocol"];
  readonly stateDir: string;
  readonly ports: readonly [number, number, number];
}

async function startSidecar(t: Test, { service, replica, app, protocol, stateDir, ports }: SidecarOptions) {
  const [outboundPort, inboundPort, adminPort] = ports;
  const workload: Workload = {
    service,
    namespace: "default",
    instanceId: randomUUID(),
    appPort: app,
    protocol,
    controlAddress: `127.0.0.1:${replica.grpcPort}`,
    joinToken: await makeToken({ stateDir, namespace: "default", serviceAccount: service, ttlMs: 60_000, purpose: "join" }),
    stateDir: temporaryFolder(t),
    outboundPort,
    inboundPort,
    adminPort,
    address: "127.0.0.1",
    settings: { REMORA_DRAIN_TIMEOUT: "5s" },
  };
  const process: HelperProcess = remora(t, ["sidecar"], sidecarEnv(workload, {}) as Record<string, string>);
  await waitUntilReady({ host: "127.0.0.1", port: adminPort, timeoutMs: READY_MS });
  t.ok(existsSync(workload.stateDir));
  return { outboundPort, process };
}

/** An app that knows nothing of the mesh. */
async function startHttpApp(t: Test): Promise<number> {
  const server = createServer((_, answer) => answer.end("ok"));
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  t.teardown(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** Both kinds of request through the outbound port of `web`, until `stop`. */
function startLoad({ outboundPort }: { readonly outboundPort: number }) {
  const client = echoClient(outboundPort, "payments");
  const grpc = startUnaryLoad(client, PER_SECOND);
  const agent = new Agent({ keepAlive: true, maxSockets: 8 });
  const figures = { sent: 0, failures: [] as string[], slowestMs: 0 };
  const under = new Set<Promise<void>>();
  const timer = setInterval(() => {
    figures.sent += 1;
    const startedMs = performance.now();
    const one = httpOnce(outboundPort, agent)
      .then((problem) => {
        figures.slowestMs = Math.max(figures.slowestMs, Math.round(performance.now() - startedMs));
        if (problem !== null) figures.failures.push(`${new Date().toISOString()} ${problem}`);
      })
      .finally(() => under.delete(one));
    under.add(one);
  }, 1000 / PER_SECOND);
  return {
    async stop() {
      clearInterval(timer);
      await Promise.all(under);
      agent.destroy();
      const calls = await grpc.stop();
      client.close();
      return { http: figures, grpc: calls };
    },
  };
}

/** Null when it was answered with 200. */
function httpOnce(port: number, agent: Agent): Promise<string | null> {
  return new Promise((done) => {
    const asked = request(
      { host: "127.0.0.1", port, path: "http://orders/", headers: { host: "orders" }, agent, timeout: 10_000 },
      (answer) => {
        answer.resume();
        answer.on("end", () =>
          done(answer.statusCode === 200 ? null : `status ${answer.statusCode} ${answer.headers["x-remora-reason"] ?? ""}`),
        );
        answer.on("error", (error) => done(error.message));
      },
    );
    asked.on("timeout", () => asked.destroy(new Error("timeout")));
    asked.on("error", (error) => done(error.message));
    asked.end();
  });
}

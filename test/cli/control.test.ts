import { once } from "node:events";
import { existsSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { join, resolve } from "node:path";
import { connect } from "node:tls";
import t from "tap";
import { loadControlConfig } from "../../cli/control/config.ts";
import { ranRemora, remora, startedControl, temporaryFolder } from "./remora.ts";

t.test("a control plane starts with nothing set, answers, and ends cleanly on SIGTERM", async (t) => {
  const { control, stateDir, adminPort } = await startedControl(t);
  const get = async (path: string) => fetch(`http://127.0.0.1:${adminPort}${path}`);

  t.equal((await ranRemora(t, ["wait", "--admin-port", String(adminPort)])).code, 0);
  t.equal((await get("/ready")).status, 200);
  t.match(await (await get("/api/v1/info")).json(), {
    component: "control",
    roles: ["ca", "registry"],
    store: "memory",
    inKubernetes: false,
  });
  t.match(await (await get("/api/v1/health")).json(), { status: "ok", checks: { ca: { status: "ok" }, registry: { status: "ok" } } });
  t.match(await (await get("/api/v1/instances")).json(), { instances: [], total: 0 });
  t.match(await (await get("/metrics")).text(), /remora_build_info\{.*component="control"/);
  t.equal(statSync(join(stateDir, "ca-root.pem")).mode & 0o777, 0o600, "only its user can read the CA's key");
  t.ok(existsSync(join(stateDir, "control.json")), "tells `remora run` where it is");

  control.signal("SIGTERM");
  t.equal(await control.exit(), 0);
  t.notOk(existsSync(join(stateDir, "control.json")), "and takes it back");
});

t.test("it comes back with the same root", async (t) => {
  const stateDir = temporaryFolder(t);
  const run = async () => {
    const control = remora(t, ["control", "--state-dir", stateDir, "--grpc-port", "0", "--admin-port", "0"]);
    const [, created] = await control.line(/"created":(true|false).*CA root ready/);
    await control.line(/control plane ready/);
    control.signal("SIGINT");
    t.equal(await control.exit(), 0);
    return created;
  };
  t.equal(await run(), "true");
  t.equal(await run(), "false");
});

t.test("a registry without the CA is certified by the CA of another process", async (t) => {
  const { stateDir, grpcPort } = await startedControl(t, { REMORA_ROLES: "ca" });
  const token = await ranRemora(t, ["token", "remora-control", "--namespace", "remora-system", "--state-dir", stateDir]);
  const registry = await startedControl(t, {
    REMORA_ROLES: "registry",
    REMORA_CONTROL_ADDRESS: `127.0.0.1:${grpcPort}`,
    REMORA_JOIN_TOKEN: token.text,
  });
  const socket = connect({
    port: registry.grpcPort,
    host: "127.0.0.1",
    ca: readFileSync(join(stateDir, "ca.crt")),
    checkServerIdentity: () => undefined,
    ALPNProtocols: ["h2"],
  });
  t.teardown(() => socket.destroy());
  await once(socket, "secureConnect");
  t.equal(socket.authorized, true);
  t.equal(socket.getPeerCertificate().subjectaltname, "URI:spiffe://cluster.local/ns/remora-system/sa/remora-control");
});

t.test("POST /exit from this machine ends it", async (t) => {
  const { control, adminPort } = await startedControl(t);
  t.ok((await fetch(`http://127.0.0.1:${adminPort}/exit`, { method: "POST" })).ok);
  t.equal(await control.exit(), 0);
});

t.test("a port that is taken is named, with its setting", async (t) => {
  const taken = createServer().listen(0, "127.0.0.1");
  t.teardown(() => taken.close());
  await once(taken, "listening");
  const { port } = taken.address() as { port: number };
  for (const [flag, variable] of [
    ["--grpc-port", "REMORA_GRPC_PORT"],
    ["--admin-port", "REMORA_ADMIN_PORT"],
  ] as const) {
    const other = flag === "--grpc-port" ? "--admin-port" : "--grpc-port";
    const { code, text } = await ranRemora(t, ["control", "--state-dir", temporaryFolder(t), flag, String(port), other, "0"]);
    t.equal(code, 1);
    t.match(text, `remora control: cannot listen on 127.0.0.1:${port} (${variable}): the port is already in use`);
  }
});

t.test("a Redis that cannot be reached ends the start, with its address and without its password", async (t) => {
  const { code, text } = await ranRemora(t, ["control", "--state-dir", temporaryFolder(t), "--grpc-port", "0", "--admin-port", "0"], {
    REMORA_STORE: "redis",
    REMORA_REDIS_URL: "redis://:hunter2@127.0.0.1:1/0",
  });
  t.equal(code, 1);
  t.match(text, /remora control: .*127\.0\.0\.1:1/);
  t.notMatch(text, "hunter2");
});

t.test("every wrong setting is listed at once", async (t) => {
  const { code, text } = await ranRemora(t, ["control"], {
    REMORA_LEAF_TTL: "24",
    REMORA_STOR: "redis",
    REMORA_GRPC_PORT: "http",
    REMORA_ROLES: "ca,registri",
  });
  t.equal(code, 1);
  t.match(text, "4 mistakes in the settings of remora control");
  t.match(text, /REMORA_LEAF_TTL="24" is not valid/);
  t.match(text, /REMORA_STOR is not a setting here; did you mean REMORA_STORE\?/);
  t.match(text, /REMORA_GRPC_PORT="http" is not valid: expected a port/);
  t.match(text, /REMORA_ROLES="ca,registri" is not valid: expected a list of ca, registry, injector/);
});

t.test("settings that contradict each other are refused", async (t) => {
  for (const [env, why] of [
    [{ REMORA_STORE: "redis" }, "REMORA_STORE=redis needs REMORA_REDIS_URL"],
    [{ REMORA_REDIS_URL: "redis://127.0.0.1" }, "REMORA_REDIS_URL is set but REMORA_STORE=memory does not use it"],
    [{ REMORA_ROLES: "injector" }, "the role injector works only in Kubernetes"],
    [{ REMORA_ROLES: "registry" }, "the role registry without ca needs REMORA_CONTROL_ADDRESS"],
    [{ REMORA_CA_CERT_FILE: "/a" }, "REMORA_CA_CERT_FILE and REMORA_CA_KEY_FILE go together"],
    [{ REMORA_LEASE: "5s" }, "REMORA_LEASE must be at least twice REMORA_HEARTBEAT_INTERVAL"],
  ] as const) {
    t.throws(() => loadControlConfig(env), { code: "invalid_settings", message: new RegExp(why) });
  }
});

t.test("where it runs decides what is not set", async (t) => {
  const laptop = loadControlConfig({ REMORA_STATE_DIR: "state" });
  t.same([...laptop.roles], ["ca", "registry"]);
  t.equal(laptop.bindAddress, "127.0.0.1");
  t.equal(laptop.stateDir, resolve("state"), "a relative folder does not move with the process");

  const pod = loadControlConfig({
    KUBERNETES_SERVICE_HOST: "10.0.0.1",
    REMORA_CONTROL_SERVICE_HOST: "10.0.0.2",
    REMORA_CONTROL_SERVICE_PORT: "15010",
  });
  t.same([...pod.roles], ["ca", "registry", "injector"]);
  t.equal(pod.bindAddress, "::");
  t.equal(pod.stateDir, null);
  t.equal(loadControlConfig({ KUBERNETES_SERVICE_HOST: "10.0.0.1", REMORA_KUBERNETES: "off" }).inKubernetes, false);
});

t.test("a state folder that cannot be written is named", async (t) => {
  const { code, text } = await ranRemora(t, ["control", "--state-dir", "/dev/null/remora", "--grpc-port", "0", "--admin-port", "0"]);
  t.equal(code, 1);
  t.match(text, /remora control: .*\/dev\/null\/remora/);
  t.equal(text.split("\n").filter((line) => line.startsWith("remora")).length, 1);
});

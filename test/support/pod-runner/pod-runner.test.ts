import { existsSync, readFileSync } from "node:fs";
import t from "tap";
import { requires } from "../requires.ts";
import { createPodRunner } from "./pod-runner.ts";
import type { Pod } from "./pod-spec.ts";

const skip = requires("root", "ip", "nginx", "curl", "setpriv", "nsenter");

t.test("runs an unmodified nginx pod that another pod reaches by IPv4, IPv6 and name", { skip }, async (t) => {
  const runner = createPodRunner();
  t.teardown(() => runner.close());
  const server = await runner.startPod({
    metadata: { name: "web" },
    spec: {
      containers: [
        {
          name: "nginx",
          image: "docker.io/library/nginx:1.29-alpine",
          ports: [{ name: "http", containerPort: 80 }],
          readinessProbe: { httpGet: { path: "/", port: "http" } },
          livenessProbe: { tcpSocket: { port: "http" }, periodSeconds: 1 },
        },
      ],
    },
  });
  await server.ready();
  runner.setHosts([`${server.facts.podIps[0]} web.shop`]);
  const client = await runner.startPod({
    metadata: { name: "client" },
    spec: { containers: [{ name: "app", image: "busybox", securityContext: { runAsUser: 1000 } }] },
  });
  for (const url of ["http://web.shop/", `http://${server.facts.podIps[0]}/`, `http://[${server.facts.podIps[1]}]/`]) {
    const { code, stdout, stderr } = await client.exec("app", ["curl", "-sS", url]);
    t.equal(code, 0, stderr);
    t.match(stdout, "hello from nginx", url);
  }
  t.equal((await client.exec("app", ["id", "-u"])).stdout.trim(), "1000");
  const bridge = runner.network.bridge;
  await runner.close();
  t.notOk(existsSync(`/sys/class/net/${bridge}`), "the bridge is gone");
  t.notOk(
    existsSync(`/proc/${/pid (\d+)/.exec(server.events.find((event) => event.what === "started")?.detail ?? "")?.[1]}`),
    "nginx is gone",
  );
  t.notOk(existsSync(`/etc/netns/${bridge}-web-10`));
  t.notMatch(readFileSync("/proc/mounts", "utf8"), `remora-pods-${process.pid}`);
});

const lifecyclePod: Pod = {
  metadata: { name: "life", namespace: "shop", uid: "11111111-2222-4333-8444-555555555555", labels: { app: "life" } },
  spec: {
    serviceAccountName: "keeper",
    terminationGracePeriodSeconds: 1,
    volumes: [
      { name: "run", emptyDir: { medium: "Memory", sizeLimit: "1Mi" } },
      {
        name: "token",
        projected: { sources: [{ serviceAccountToken: { path: "token", audience: "remora.io", expirationSeconds: 600 } }] },
      },
      { name: "settings", configMap: { name: "settings" } },
    ],
    initContainers: [
      {
        name: "first",
        image: "busybox",
        command: [
          "sh",
          "-c",
          "id -u; grep CapBnd /proc/self/status; echo one > /var/run/remora/order; chmod 666 /var/run/remora/order; ip -o addr show eth0 | wc -l",
        ],
        volumeMounts: [{ name: "run", mountPath: "/var/run/remora" }],
        securityContext: { runAsUser: 0, capabilities: { drop: ["ALL"], add: ["NET_ADMIN", "NET_RAW"] } },
      },
      {
        name: "side",
        image: "busybox",
        restartPolicy: "Always",
        command: [
          "sh",
          "-c",
          "trap 'echo side-term; exit 0' TERM; sleep 0.3; echo two >> /var/run/remora/order; touch /var/run/remora/up; while :; do sleep 0.05; done",
        ],
        startupProbe: { exec: { command: ["test", "-e", "/var/run/remora/up"] }, periodSeconds: 1, failureThreshold: 10 },
        volumeMounts: [{ name: "run", mountPath: "/var/run/remora" }],
        securityContext: {
          runAsUser: 1337,
          runAsGroup: 1337,
          readOnlyRootFilesystem: true,
          allowPrivilegeEscalation: false,
          capabilities: { drop: ["ALL"] },
        },
      },
    ],
    containers: [
      {
        name: "app",
        image: "busybox",
        command: [
          "sh",
          "-c",
          'trap "echo app-term; sleep 0.1; exit 0" TERM; cat /var/run/remora/order; echo "$WHO at $WHERE is $UID_ in $SPACE $GREETING $(cat /var/run/secrets/remora.io/token) $(cat /etc/life/colour)"; while :; do sleep 0.05; done',
        ],
        env: [
          { name: "WHO", valueFrom: { fieldRef: { fieldPath: "spec.serviceAccountName" } } },
          { name: "WHERE", valueFrom: { fieldRef: { fieldPath: "status.podIPs" } } },
          { name: "UID_", valueFrom: { fieldRef: { fieldPath: "metadata.uid" } } },
          { name: "SPACE", valueFrom: { fieldRef: { fieldPath: "metadata.namespace" } } },
          { name: "GREETING", value: "hi-$(WHO)" },
        ],
        volumeMounts: [
          { name: "run", mountPath: "/var/run/remora" },
          { name: "token", mountPath: "/var/run/secrets/remora.io", readOnly: true },
          { name: "settings", mountPath: "/etc/life" },
        ],
        lifecycle: { preStop: { exec: { command: ["sh", "-c", "echo pre >> /var/run/remora/order"] } } },
        securityContext: { runAsUser: 1000 },
      },
    ],
  },
};

t.test("leads a pod's life as a kubelet does", { skip }, async (t) => {
  const runner = createPodRunner({
    mintToken: ({ audience, pod }) => `token-for-${pod.spec.serviceAccountName}-${audience}`,
    configMaps: { settings: { colour: "blue" } },
  });
  t.teardown(() => runner.close());
  const pod = await runner.startPod(lifecyclePod);
  await pod.ready();
  for (let i = 0; i < 250 && !pod.log("app").includes("blue"); i += 1) await new Promise((resolve) => setTimeout(resolve, 20));
  t.match(pod.log("first"), /^0\nCapBnd:\t0000000000003000\n2|3/, "root with exactly NET_ADMIN and NET_RAW");
  t.match(
    pod.log("app"),
    `one\ntwo\nkeeper at ${pod.facts.podIps.join(",")} is 11111111-2222-4333-8444-555555555555 in shop hi-keeper token-for-keeper-remora.io blue`,
    "init container, native sidecar, then the app, with its env, token and settings",
  );
  const write = await pod.exec("side", [
    "sh",
    "-c",
    "id -u; touch /etc/x || touch /run/x || echo read-only; grep -E 'NoNewPrivs|CapEff' /proc/self/status",
  ]);
  t.match(write.stdout, /^1337\nread-only\nCapEff:\t0{16}\nNoNewPrivs:\t1/);

  t.equal(pod.restarts("side"), 0);
  pod.signal("side", "SIGKILL");
  for (let i = 0; i < 250 && !(pod.restarts("side") === 1 && pod.isReady()); i += 1)
    await new Promise((resolve) => setTimeout(resolve, 20));
  t.equal(pod.restarts("side"), 1, "a native sidecar that dies is restarted");

  await pod.stop();
  t.match(pod.log("app"), "app-term");
  t.match(pod.log("side"), "side-term");
  const order = pod.events
    .slice(pod.events.findLastIndex((event) => event.what === "pre_stop"))
    .filter((event) => event.what !== "unready")
    .map((event) => `${event.container} ${event.what}`);
  t.same(order, ["app pre_stop", "app terminating", "app exited", "side terminating", "side exited"]);
  await runner.close();
  t.notOk(existsSync("/etc/life"), "a mount point that was made is removed by close");
});

t.test("says with logs why a pod does not come up", { skip }, async (t) => {
  const runner = createPodRunner();
  t.teardown(() => runner.close());
  const failing = (spec: Pod["spec"]) => runner.startPod({ metadata: { name: "bad" }, spec });
  const app = { name: "app", image: "busybox" };
  await t.rejects(
    failing({ initContainers: [{ name: "setup", image: "busybox", command: ["sh", "-c", "echo no luck; exit 3"] }], containers: [app] }),
    {
      message: /init container setup failed \(exit status 3\):\nno luck/,
    },
  );
  await t.rejects(failing({ containers: [{ ...app, securityContext: { runAsNonRoot: true } }] }), { message: /runAsNonRoot/ });
  await t.rejects(failing({ containers: [{ name: "app", image: "unheard-of:1" }] }), { message: /unheard-of:1 has no local form/ });
});

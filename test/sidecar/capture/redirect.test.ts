// The real `remora init` in real network namespaces: what it prints, what it changes, and where connections then end.
import { spawn, spawnSync } from "node:child_process";
import { join, relative, resolve } from "node:path";
import t, { type Test } from "tap";
import { createTestNetwork } from "../../support/netns.ts";
import { mountScript, REPOSITORY_MOUNT } from "../../support/pod-runner/mount-script.ts";
import { requires } from "../../support/requires.ts";

const skip = requires("root", "ip", "iptables", "setpriv");
// Many short processes: on a busy machine of two cores this takes its time.
t.setTimeout(300_000);
// As the pods see it: other users may not read the folder that the tests run from.
const repository = resolve(import.meta.dirname, "../../..");
const remora = join(REPOSITORY_MOUNT, "bin/remora");
const node = join(REPOSITORY_MOUNT, relative(repository, process.execPath));
const answerer = join(REPOSITORY_MOUNT, relative(repository, join(import.meta.dirname, "original-dst-answerer.ts")));
const view = mountScript({ container: { name: "view", image: "none" }, repository, volumeFolders: new Map() });

interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function runIn(namespace: string, argv: readonly string[], env: Readonly<Record<string, string>> = {}): Ran {
  const done = spawnSync("ip", ["netns", "exec", namespace, "sh", "-c", view, "sh", ...argv], {
    encoding: "utf8",
    timeout: 60_000,
    env: { ...process.env, ...env },
  });
  return { code: done.status, stdout: done.stdout, stderr: done.stderr };
}

function asUser(uid: number): readonly string[] {
  return ["setpriv", `--reuid=${uid}`, `--regid=${uid}`, "--clear-groups"];
}

/** Rules of the nat table, without counters and comments. */
function natRules(namespace: string, command: "iptables-save" | "ip6tables-save"): readonly string[] {
  const { stdout } = runIn(namespace, [command, "-t", "nat"]);
  return stdout.split("\n").filter((line) => line.startsWith("-A") || line.startsWith(":REMORA"));
}

/** What the answerer says about a connection dialled from `namespace`, or why there is none. bash, since it starts in no time. */
function dial(namespace: string, uid: number, address: string, port: number): string {
  const script = 'exec 3<>"/dev/tcp/$0/$1" && cat <&3';
  const { stdout, stderr } = runIn(namespace, [...asUser(uid), "timeout", "10", "bash", "-c", script, address, String(port)]);
  return stdout.trim() || stderr.trim() || "timeout";
}

async function answerIn(t: Test, namespace: string, ports: readonly number[]): Promise<void> {
  const argv = ["netns", "exec", namespace, "sh", "-c", view, "sh", ...asUser(1337), node, answerer, ...ports.map(String)];
  const child = spawn("ip", argv, { stdio: ["ignore", "pipe", "inherit"] });
  t.teardown(() => child.kill("SIGKILL"));
  await new Promise<void>((done, fail) => {
    child.stdout.once("data", () => done());
    child.once("exit", (code) => fail(new Error(`the answerer ended with ${code}`)));
  });
}

t.test("programs both families, the same however often it runs, and removes all of it", { skip }, async (t) => {
  const network = createTestNetwork();
  t.teardown(() => network.close());
  const { name } = network.addNamespace("init");
  const untouched = [natRules(name, "iptables-save"), natRules(name, "ip6tables-save")];

  const dry = runIn(name, [remora, "init", "--dry-run"]);
  t.equal(dry.code, 0, dry.stderr);
  t.match(dry.stdout, "-A REMORA_OUTPUT -m owner --uid-owner 1337 -j RETURN");
  t.same([natRules(name, "iptables-save"), natRules(name, "ip6tables-save")], untouched, "a dry run changes nothing");

  const first = runIn(name, [remora, "init"], { REMORA_SKIP_OUTBOUND_CIDRS: "203.0.113.0/24,2001:db8:ffff::/48" });
  t.equal(first.code, 0, first.stderr);
  t.match(first.stdout, /ipv4: rules installed: outbound TCP to port 15001 except from user 1337, inbound TCP to port 15006/);
  const v4 = natRules(name, "iptables-save");
  const v6 = natRules(name, "ip6tables-save");
  t.match(v4.join("\n"), "-d 203.0.113.0/24 -j RETURN");
  t.match(v6.join("\n"), "-d 2001:db8:ffff::/48 -j RETURN");

  const again = runIn(name, [remora, "init", "--skip-outbound-cidrs", "203.0.113.0/24,2001:db8:ffff::/48"]);
  t.match(again.stdout, "rules renewed");
  t.same([natRules(name, "iptables-save"), natRules(name, "ip6tables-save")], [v4, v6], "the second run leaves the same rules");

  const undo = runIn(name, [remora, "init", "--undo"]);
  t.equal(undo.code, 0, undo.stderr);
  t.same([natRules(name, "iptables-save"), natRules(name, "ip6tables-save")], untouched);
  t.match(runIn(name, [remora, "init", "--undo"]).stdout, "ipv6: no rules of Remora to remove");
});

t.test("sees by itself whether connections are redirected", { skip }, async (t) => {
  const network = createTestNetwork();
  t.teardown(() => network.close());
  const { name } = network.addNamespace("check");
  const before = runIn(name, [remora, "init", "--check"]);
  t.equal(before.code, 1);
  t.match(before.stderr, /traffic is not captured: ipv4: a connection to 198\.51\.100\.1:80 is not redirected/);

  t.equal(runIn(name, [remora, "init"]).code, 0);
  const after = runIn(name, [remora, "init", "--check"]);
  t.equal(after.code, 0, after.stderr);
  t.match(after.stdout, "ipv4: a connection to 198.51.100.1:80 is redirected and its original destination reads 198.51.100.1:80");
  t.match(after.stdout, "ipv6: a connection to [2001:db8::1]:80 is redirected and its original destination reads [2001:db8::1]:80");

  await answerIn(t, name, [15001]);
  const beside = runIn(name, [remora, "init", "--check"]);
  t.equal(beside.code, 0, beside.stderr);
  t.match(beside.stdout, "is accepted by the listener on the outbound port");
  t.equal(runIn(name, [...asUser(1000), remora, "init", "--check"]).code, 0, "any user but the sidecar's may check");
});

t.test("captures what leaves and enters the pod, and nothing else", { skip }, async (t) => {
  const network = createTestNetwork();
  t.teardown(() => network.close());
  const pod = network.addNamespace("pod");
  const other = network.addNamespace("other");
  t.equal(runIn(pod.name, [remora, "init", "--skip-outbound-ports", "2525", "--skip-inbound-ports", "7000"]).code, 0);
  await answerIn(t, pod.name, [15001, 15006, 15020, 7000, 8080]);
  await answerIn(t, other.name, [2525, 53, 80, 443]);

  t.test("outbound", async (t) => {
    t.equal(dial(pod.name, 1000, other.ipv4, 80), `15001: ${other.ipv4} 80`, "IPv4");
    t.equal(dial(pod.name, 0, other.ipv6, 443), `15001: ${other.ipv6} 443`, "IPv6, root too");
    t.equal(dial(pod.name, 1000, network.virtualIpv4(1), 5000), `15001: ${network.virtualIpv4(1)} 5000`, "an address that nobody has");
    t.equal(dial(pod.name, 1337, other.ipv4, 80), "80: not redirected", "the sidecar's own");
    t.equal(dial(pod.name, 1000, other.ipv4, 2525), "2525: not redirected", "a skipped port");
    t.equal(dial(pod.name, 1000, other.ipv4, 53), "53: not redirected", "DNS");
  });
  t.test("to self", async (t) => {
    for (const address of ["127.0.0.1", "::1", pod.ipv4, pod.ipv6]) {
      t.equal(dial(pod.name, 1000, address, 8080), "8080: not redirected", address);
      t.equal(dial(pod.name, 1337, address, 8080), "8080: not redirected", `${address} from the sidecar`);
    }
  });
  t.test("inbound", async (t) => {
    t.equal(dial(other.name, 1000, pod.ipv4, 8080), `15006: ${pod.ipv4} 8080`);
    t.equal(dial(other.name, 1000, pod.ipv6, 8080), `15006: ${pod.ipv6} 8080`);
    t.equal(dial(other.name, 1000, pod.ipv4, 15020), "15020: not redirected", "the admin port");
    t.equal(dial(other.name, 1000, pod.ipv4, 7000), "7000: not redirected", "a skipped port");
    t.equal(dial(other.name, 1000, pod.ipv4, 15001), `15006: ${pod.ipv4} 15001`, "the outbound listener is not to be had from outside");
    t.equal(dial(other.name, 1000, pod.ipv4, 15006), "15006: not redirected");
  });
});

t.test("works in a pod where IPv6 is switched off, and captures it should it be switched on", { skip }, async (t) => {
  const network = createTestNetwork();
  t.teardown(() => network.close());
  const { name } = network.addNamespace("v4");
  runIn(name, ["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"]);
  const ran = runIn(name, [remora, "init"]);
  t.equal(ran.code, 0, ran.stderr);
  const checked = runIn(name, [remora, "init", "--check"]);
  t.equal(checked.code, 0, checked.stderr + checked.stdout);
  t.match(checked.stdout, "ipv6: no route leaves this pod");
  runIn(name, ["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0"]);
  runIn(name, ["ip", "-6", "addr", "add", "fd77:1::2/64", "dev", "eth0", "nodad"]);
  runIn(name, ["ip", "-6", "route", "add", "default", "via", "fd77:1::1", "dev", "eth0"]);
  t.match(runIn(name, [remora, "init", "--check"]).stdout, "ipv6: a connection to [2001:db8::1]:80 is redirected");
});

t.test("refuses users with whom capture cannot work, and says why", { skip }, async (t) => {
  const network = createTestNetwork();
  t.teardown(() => network.close());
  const { name } = network.addNamespace("no");
  const refused = (argv: readonly string[], env: Readonly<Record<string, string>>, why: RegExp) => {
    const ran = runIn(name, argv, env);
    t.not(ran.code, 0);
    t.match(ran.stderr, why);
  };
  refused([...asUser(1337), remora, "init"], {}, /runs as user 1337, the sidecar's own/);
  refused([...asUser(1000), remora, "init"], {}, /it needs root and the capability NET_ADMIN/);
  refused(["setpriv", "--bounding-set=-all", remora, "init"], {}, /needs root and the capability NET_ADMIN/);
  t.notMatch(natRules(name, "iptables-save").join("\n"), "REMORA");
});

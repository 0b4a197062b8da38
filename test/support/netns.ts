// A private network for tests: one bridge with an IPv4 and an IPv6 subnet of its own, and network namespaces on it. Owns names, addresses and their
// removal; what runs in a namespace is the pod runner's. Needs root and iproute2. What a killed test process left behind is removed by the next one.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";

/** Names of everything made here start with this, so that leftovers are recognised. */
const PREFIX = "rmt";
const SUBNETS = 250;

/** A namespace on the network. */
export interface TestNamespace {
  /** Its name for `ip netns`. */
  readonly name: string;
  readonly ipv4: string;
  readonly ipv6: string;
  /** Replaces /etc/hosts of the namespace; commands that run in it already see the change. */
  setHosts(lines: readonly string[]): void;
  /** Removes it with its veth pair. Processes in it must be gone. Idempotent. */
  close(): void;
}

export interface TestNetwork {
  readonly bridge: string;
  /** The host's addresses on the network: a control plane that listens here is reached by every namespace. */
  readonly hostIpv4: string;
  readonly hostIpv6: string;
  /** Addresses that route from every namespace but that nobody has: for services. `index` is 1..250. */
  virtualIpv4(index: number): string;
  virtualIpv6(index: number): string;
  /** Makes a namespace with an address of each family, a default route of each, and its own hosts and resolv.conf. */
  addNamespace(label: string): TestNamespace;
  /** Removes the namespaces and the bridge. Idempotent. */
  close(): void;
}

/** Takes a free subnet (10.77.x.0/24 and fd77:0:0:x::/64) and makes its bridge. @throws Error when no subnet is free or `ip` refuses */
export function createTestNetwork(): TestNetwork {
  removeLeftovers();
  const subnet = takeSubnet();
  const bridge = `${PREFIX}${subnet}`;
  const namespaces = new Map<string, TestNamespace>();
  let lastHost = 9;
  let isClosed = false;
  const hostIpv4 = `10.77.${subnet}.1`;
  const hostIpv6 = `fd77:0:0:${subnet.toString(16)}::1`;
  ip(`addr add ${hostIpv4}/24 dev ${bridge}`, `-6 addr add ${hostIpv6}/64 dev ${bridge} nodad`, `link set ${bridge} up`);

  return {
    bridge,
    hostIpv4,
    hostIpv6,
    virtualIpv4: (index) => `10.78.${subnet}.${index}`,
    virtualIpv6: (index) => `fd78:0:0:${subnet.toString(16)}::${index.toString(16)}`,
    addNamespace(label) {
      lastHost += 1;
      const namespace = makeNamespace({
        name: `${bridge}-${label}-${lastHost}`,
        bridge,
        veth: `${bridge}v${lastHost}`,
        ipv4: `10.77.${subnet}.${lastHost}`,
        ipv6: `fd77:0:0:${subnet.toString(16)}::${lastHost.toString(16)}`,
        gateway4: hostIpv4,
        gateway6: hostIpv6,
        onClose: () => namespaces.delete(namespace.name),
      });
      namespaces.set(namespace.name, namespace);
      return namespace;
    },
    close() {
      if (isClosed) return;
      isClosed = true;
      for (const namespace of [...namespaces.values()]) namespace.close();
      ip(`link del ${bridge}`);
    },
  };
}

interface NamespaceParts {
  readonly name: string;
  readonly bridge: string;
  readonly veth: string;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly gateway4: string;
  readonly gateway6: string;
  readonly onClose: () => void;
}

function makeNamespace(parts: NamespaceParts): TestNamespace {
  const { name, veth } = parts;
  const folder = `/etc/netns/${name}`;
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${folder}/hosts`, "127.0.0.1 localhost\n::1 localhost\n");
  // No resolver runs at the gateway: a name that is not in hosts fails at once instead of asking the outside.
  writeFileSync(`${folder}/resolv.conf`, `nameserver ${parts.gateway4}\noptions timeout:1 attempts:1\n`);
  ip(`netns add ${name}`);
  inNamespace(
    name,
    "sysctl",
    "-qw",
    "net.ipv6.conf.all.accept_dad=0",
    "net.ipv6.conf.default.accept_dad=0",
    "net.ipv4.ip_unprivileged_port_start=0",
  );
  ip(
    `link add ${veth} type veth peer name eth0 netns ${name}`,
    `link set ${veth} master ${parts.bridge} up`,
    `-n ${name} link set lo up`,
    `-n ${name} link set eth0 up`,
    `-n ${name} addr add ${parts.ipv4}/24 dev eth0`,
    `-n ${name} -6 addr add ${parts.ipv6}/64 dev eth0 nodad`,
    `-n ${name} route add default via ${parts.gateway4}`,
    `-n ${name} -6 route add default via ${parts.gateway6}`,
  );
  let isClosed = false;
  return {
    name,
    ipv4: parts.ipv4,
    ipv6: parts.ipv6,
    // Written in place: `ip netns exec` bind-mounts the file itself.
    setHosts: (lines) => writeFileSync(`${folder}/hosts`, `127.0.0.1 localhost\n::1 localhost\n${lines.join("\n")}\n`),
    close() {
      if (isClosed) return;
      isClosed = true;
      removeNamespace(name, veth);
      parts.onClose();
    },
  };
}

/** Runs a command in a namespace and waits for it. @throws Error with its stderr when it fails */
export function inNamespace(name: string, ...argv: readonly string[]): string {
  return run("ip", "netns", "exec", name, ...argv);
}

/** The link goes first: the kernel would remove it with the namespace, but later, and its name would be taken until then. */
function removeNamespace(name: string, veth: string): void {
  spawnSync("ip", ["link", "del", veth]);
  spawnSync("ip", ["netns", "del", name]);
  rmSync(`/etc/netns/${name}`, { recursive: true, force: true });
}

/** The kernel refuses a second bridge of one name, which makes the name a lock between test processes. */
function takeSubnet(): number {
  for (let i = 0; i < SUBNETS; i += 1) {
    const subnet = 1 + ((process.pid + i) % SUBNETS);
    const added = spawnSync("ip", ["link", "add", `${PREFIX}${subnet}`, "type", "bridge"], { encoding: "utf8" });
    if (added.status === 0) {
      ip(`link set ${PREFIX}${subnet} alias remora-test:${process.pid}`);
      return subnet;
    }
    if (!added.stderr.includes("File exists")) throw new Error(`no test network: ${added.stderr.trim()}`);
  }
  throw new Error(`no test network: all ${SUBNETS} subnets are taken`);
}

/** Removes bridges whose test process is dead, and namespaces whose bridge is gone. */
function removeLeftovers(): void {
  for (const bridge of readdirSync("/sys/class/net").filter((name) => new RegExp(`^${PREFIX}\\d+$`).test(name))) {
    const pid = /^remora-test:(\d+)/.exec(readAlias(bridge))?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) spawnSync("ip", ["link", "del", bridge]);
  }
  for (const name of existsSync("/run/netns") ? readdirSync("/run/netns") : []) {
    const [, bridge = "", host = ""] = new RegExp(`^(${PREFIX}\\d+)-.*-(\\d+)$`).exec(name) ?? [];
    if (bridge !== "" && !existsSync(`/sys/class/net/${bridge}`)) removeNamespace(name, `${bridge}v${host}`);
  }
}

function readAlias(link: string): string {
  try {
    return readFileSync(`/sys/class/net/${link}/ifalias`, "utf8");
  } catch {
    return ""; // somebody else removed it meanwhile
  }
}

function ip(...commands: readonly string[]): void {
  for (const command of commands) run("ip", ...command.split(" "));
}

function run(command: string, ...args: readonly string[]): string {
  const done = spawnSync(command, [...args], { encoding: "utf8", timeout: 10_000 });
  if (done.status !== 0)
    throw new Error(`${command} ${args.join(" ")}: ${done.stderr?.trim() || done.error?.message || `exit status ${done.status}`}`);
  return done.stdout;
}

// What can be done to the link of a namespace: taken off the bridge, so that frames vanish without a word, or led through a relay of frames that holds each
// for a while (delay-link.py): this kernel and many others of test machines have no netem.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { inNamespace, type TestNamespace, type TestNetwork } from "../support/netns.ts";

const READY_TIMEOUT_MS = 10_000;

/** The end of its pair of links that is on the bridge. */
function hostEnd(network: TestNetwork, namespace: TestNamespace): string {
  return `${network.bridge}v${namespace.name.split("-").at(-1)}`;
}

/** Frames to and from it vanish until the result is called. Idempotent. */
export function cutLink(network: TestNetwork, namespace: TestNamespace): () => void {
  const link = hostEnd(network, namespace);
  ip("link", "set", link, "nomaster");
  return () => ip("link", "set", link, "master", network.bridge);
}

/** Packets between two namespaces vanish until the result is called; each reaches everybody else. Idempotent. */
export function cutBetween(from: TestNamespace, others: readonly TestNamespace[]): () => void {
  return drop(
    from,
    others.flatMap(({ ipv4 }) => [
      ["INPUT", "-s", ipv4, "-j", "DROP"],
      ["OUTPUT", "-d", ipv4, "-j", "DROP"],
    ]),
  );
}

/** Packets of the connections that are open from one to the other vanish until the result is called; new connections pass. Idempotent. */
export function cutOpenConnections(from: TestNamespace, to: TestNamespace): () => void {
  const listed = inNamespace(from.name, "ss", "-Htn", "state", "established", "dst", to.ipv4);
  const ports = listed.split("\n").flatMap((line) => /^\d+\s+\d+\s+\S+:(\d+)\s/.exec(line.trim())?.[1] ?? []);
  if (ports.length === 0) throw new Error(`no connection is open from ${from.name} to ${to.name}: ${listed}`);
  return drop(
    from,
    ports.flatMap((port) => [
      ["INPUT", "-p", "tcp", "-s", to.ipv4, "--dport", port, "-j", "DROP"],
      ["OUTPUT", "-p", "tcp", "-d", to.ipv4, "--sport", port, "-j", "DROP"],
    ]),
  );
}

function drop(from: TestNamespace, rules: readonly (readonly string[])[]): () => void {
  for (const [chain = "", ...rule] of rules) inNamespace(from.name, "iptables", "-I", chain, ...rule);
  let isCut = true;
  return () => {
    if (!isCut) return;
    isCut = false;
    for (const [chain = "", ...rule] of rules) inNamespace(from.name, "iptables", "-D", chain, ...rule);
  };
}

/** Every frame to and from it takes `delayMs` longer, each way, until the result is called. Idempotent. */
export async function delayLink(
  network: TestNetwork,
  namespaces: readonly TestNamespace[],
  at: TestNamespace,
  delayMs: number,
): Promise<() => void> {
  const link = hostEnd(network, at);
  const [near, far] = [`${link}n`, `${link}f`];
  // Frames that are relayed need whole checksums and one packet each: what a network card does, and a link between namespaces leaves out.
  for (const namespace of namespaces) inNamespace(namespace.name, "ethtool", "-K", "eth0", "tx", "off", "gso", "off", "tso", "off");
  ethtool("-K", network.bridge, "tx", "off", "gso", "off", "tso", "off");
  ip("link", "add", near, "type", "veth", "peer", "name", far);
  for (const end of [near, far]) ethtool("-K", end, "tx", "off", "gso", "off", "tso", "off");
  ip("link", "set", far, "up");
  ip("link", "set", near, "up");
  const relay = spawn(
    "setpriv",
    ["--pdeathsig=KILL", "--", "python3", join(import.meta.dirname, "delay-link.py"), link, far, String(delayMs)],
    {
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  try {
    await once(createInterface({ input: relay.stdout }), "line", { signal: AbortSignal.timeout(READY_TIMEOUT_MS) });
    ip("link", "set", link, "nomaster");
    ip("link", "set", near, "master", network.bridge);
  } catch (error) {
    end(relay, near);
    throw error;
  }
  let isDelayed = true;
  return () => {
    if (!isDelayed) return;
    isDelayed = false;
    ip("link", "set", near, "nomaster");
    ip("link", "set", link, "master", network.bridge);
    end(relay, near);
  };
}

function end(relay: ChildProcess, near: string): void {
  relay.kill("SIGKILL");
  spawnSync("ip", ["link", "del", near]);
}

function ip(...args: readonly string[]): void {
  run("ip", args);
}

function ethtool(...args: readonly string[]): void {
  run("ethtool", args);
}

function run(command: string, args: readonly string[]): void {
  const done = spawnSync(command, [...args], { encoding: "utf8", timeout: 10_000 });
  if (done.status !== 0) throw new Error(`${command} ${args.join(" ")}: ${done.stderr?.trim() || done.error?.message}`);
}

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { createTestNetwork, inNamespace } from "./netns.ts";
import { requires } from "./requires.ts";

const skip = requires("root", "ip");

t.test("namespaces reach each other, by address and by the names they are given", { skip }, async (t) => {
  const network = createTestNetwork();
  t.teardown(() => network.close());
  const one = network.addNamespace("one");
  const two = network.addNamespace("two");
  one.setHosts([`${two.ipv6} second`]);
  t.match(inNamespace(one.name, "getent", "hosts", "second"), two.ipv6);
  t.match(inNamespace(one.name, "ip", "route", "get", two.ipv4), "dev eth0");
  t.match(inNamespace(one.name, "ip", "route", "get", network.virtualIpv4(7)), `via ${network.hostIpv4}`);
  t.match(inNamespace(one.name, "ip", "-6", "route", "get", network.virtualIpv6(7)), `via ${network.hostIpv6}`);
  t.throws(() => inNamespace(one.name, "false"), { message: /exit status 1/ });
  network.close();
  t.notOk(existsSync(`/run/netns/${one.name}`));
  t.notOk(existsSync(`/sys/class/net/${network.bridge}`));
});

t.test("what a killed test process left behind is removed by the next", { skip }, async (t) => {
  const source = `import { createTestNetwork } from ${JSON.stringify(join(import.meta.dirname, "netns.ts"))};
    const network = createTestNetwork(); console.log(network.bridge, network.addNamespace("left").name); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module-typescript", "-e", source], { stdio: ["ignore", "pipe", "inherit"] });
  t.teardown(() => child.kill("SIGKILL"));
  const said = await new Promise<string>((done) => child.stdout.setEncoding("utf8").once("data", done));
  const [bridge = "", namespace = ""] = said.trim().split(" ");
  t.ok(existsSync(`/sys/class/net/${bridge}`) && existsSync(`/run/netns/${namespace}`));
  const exited = new Promise((done) => child.once("exit", done));

  const meanwhile = createTestNetwork();
  t.ok(existsSync(`/sys/class/net/${bridge}`), "a living process keeps what it has");
  meanwhile.close();
  child.kill("SIGKILL");
  await exited;
  const next = createTestNetwork();
  t.teardown(() => next.close());
  t.ok(next.bridge === bridge || !existsSync(`/sys/class/net/${bridge}`));
  t.notOk(existsSync(`/run/netns/${namespace}`));
});

// The control plane dies without a warning while requests flow steadily (design 12). No request may fail; the figures are in the comments.
import t from "tap";
import { requires } from "../support/requires.ts";
import { startCluster } from "./cluster.ts";
import { client, NGINX, scaled } from "./manifests.ts";
import { instanceIds, pause, startLoad } from "./steady-load.ts";
import { until } from "./until.ts";

const skip = requires("root", "ip", "iptables", "nginx");
// Several processes per pod: on a busy machine of two cores this takes its time.
t.setTimeout(300_000);

t.test("standalone: the control plane is killed and comes back", { skip }, async (t) => {
  const cluster = await startCluster(t);
  await cluster.apply(scaled(NGINX, 2), client("shop"));
  const load = await startLoad(t, cluster, "kill -9 of the control plane, back after 2 s", 6);
  await pause(1_000);
  await cluster.control.kill();
  await pause(2_000);
  const [first] = cluster.pods("shop/web");
  t.ok(first?.isReady(), "pods stay ready without a control plane");
  await cluster.startControl("first", { grpc: 15010, admin: 15014 });
  await until("every instance has announced itself again", 30_000, async () => (await instanceIds(cluster, 15014)).length >= 3);
  await load.finish();
});

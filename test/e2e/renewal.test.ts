// Certificates with a life of ten seconds are renewed while requests flow steadily (design 7). No request may fail; the figures are in the comments.
import t from "tap";
import { requires } from "../support/requires.ts";
import { startCluster } from "./cluster.ts";
import { client, NGINX } from "./manifests.ts";
import { startLoad } from "./steady-load.ts";

const skip = requires("root", "ip", "iptables", "nginx");
// Several processes per pod: on a busy machine of two cores this takes its time.
t.setTimeout(300_000);

t.test("every certificate is renewed under load", { skip }, async (t) => {
  const cluster = await startCluster(t, { control: { REMORA_LEAF_TTL: "10s" } });
  await cluster.apply(NGINX, client("shop"));
  const pods = [cluster.pod("shop/web"), cluster.pod("shop/client")];
  // Tokens are rotated by the kubelet; a renewal does not need one.
  await Promise.all(pods.map((pod) => pod.refreshTokens()));
  const load = await startLoad(t, cluster, "renewal of every certificate", 10);
  await load.finish();
  for (const pod of pods) {
    const obtained = cluster.sidecarLog(pod).filter((line) => line["msg"] === "certificate obtained");
    t.comment(`${pod.name}: ${obtained.length} certificates, by ${obtained.map((line) => String(line["credential"])).join(", ")}`);
    t.ok(obtained.length >= 2, `${pod.name} renewed its certificate`);
    t.ok(pod.isReady());
  }
});

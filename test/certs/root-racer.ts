// One of several processes that open the same state folder at the same time; prints the root that it got.
import { randomBytes } from "node:crypto";
import { createFileRootStore } from "../../certs/file-root-store.ts";
import { loadOrCreateRoot } from "../../certs/root-store.ts";

const [, , folder = ""] = process.argv;
const { state } = await loadOrCreateRoot(createFileRootStore(folder), {
  trustDomain: "cluster.local",
  nowMs: Date.now(),
  random: randomBytes,
});
process.stdout.write(state.signer.certificate.fingerprint256);

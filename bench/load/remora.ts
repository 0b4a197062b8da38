// Remora as the image carries it: the bundle, a control plane and two sidecars in explicit capture, `web` calling `orders`. Default settings with
// metrics, heartbeat and registry watch; only the access log is off, as it is in every other contender.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { bundle } from "../../bin/bundle.ts";
import { buildInfo } from "../../core/build-info.ts";
import { startBundledMesh } from "./bundled-mesh.ts";
import { untilGrpcServed } from "./ask-grpc.ts";
import type { StartContender } from "./contender.ts";

const PROJECT = join(import.meta.dirname, "..", "..");
/** What the sidecar is made of. */
const CODE = ["bin", "cli", "core", "sidecar", "package-lock.json"];
const SHOWN_COMMIT = 8;
const REACHED_TIMEOUT_MS = 30_000;

/** What moves the bytes: a value of REMORA_ENGINE. */
export type EngineName = "splice" | "compat";

/** How gRPC goes between the sidecars: a value of REMORA_SIGNING, which the second hop insists on, or as opaque bytes through a CONNECT tunnel. */
export type GrpcWay = "hmac" | "sign" | "mtls" | "tunnel";

/** Makes a contender. `dist` holds the bundle; see {@link makeBundle}. By default gRPC carries no signatures, as in every other contender. */
export function remora(engine: EngineName, dist: () => Promise<string>, grpcWay: GrpcWay = "mtls"): StartContender {
  return async ({ originPort, folder, start, traffic = "http" }) => {
    const signing = grpcWay === "tunnel" ? "mtls" : grpcWay;
    const settings = {
      REMORA_ENGINE: engine,
      ...(traffic === "grpc" ? { REMORA_SIGNING: signing, REMORA_VERIFY: signing } : {}),
      REMORA_ACCESS_LOG: "false",
      REMORA_RATE_LIMIT: "1000000/s per=identity", // never fires
    };
    const mesh = await startBundledMesh({ dist: await dist(), folder, start, settings });
    const orders = await mesh.startSidecar("orders", originPort, traffic === "grpc" ? "grpc" : "http1");
    const web = await mesh.startSidecar("web", null);
    const url = `http://127.0.0.1:${web.outboundPort}/`;
    if (traffic === "grpc") await untilGrpcServed(new URL("/work", url), "orders", REACHED_TIMEOUT_MS);
    else await mesh.untilReached(web, "orders");
    return {
      name: engine,
      url,
      host: "orders",
      tunnel: traffic === "tcp" || grpcWay === "tunnel" ? `orders:${originPort}` : null,
      hops: [web.pid, orders.pid],
      startMs: Math.max(web.readyMs, orders.readyMs),
    };
  };
}

/** Makes the bundle below `folder` when it is first asked for. */
export function makeBundle(folder: string): () => Promise<string> {
  let made: Promise<string> | null = null;
  return () => {
    const outDir = join(folder, "dist");
    made ??= bundle({ outDir }).then(() => outDir);
    return made;
  };
}

/** Version and commit, and whether the code differs from that. */
export function remoraVersion(): string {
  const { version, commit } = buildInfo();
  const words = ["status", "--porcelain", "--", ...CODE];
  const changed = (spawnSync("git", words, { cwd: PROJECT, encoding: "utf8" }).stdout ?? "") !== ""; // without git nobody can tell
  return `${version} (${commit.slice(0, SHOWN_COMMIT)}${changed ? ", changed" : ""})`;
}

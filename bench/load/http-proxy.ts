// Bare http-proxy in front of bare http-proxy: the floor of gateways written by hand in Node.
import { join } from "node:path";
import { startChild } from "../../cli/run/child.ts";
import { freePorts } from "../../cli/run/free-ports.ts";
import type { StartContender } from "./contender.ts";
import { writeTlsFiles } from "./tls-files.ts";
import { untilServed } from "./until-served.ts";

const READY_TIMEOUT_MS = 20_000;
const STOP_GRACE_MS = 1_000;
const HOP = join(import.meta.dirname, "http-proxy-hop.ts");

/** Starts both hops. */
export const startHttpProxyPair: StartContender = async (origin, folder) => {
  const { ca, cert, key } = await writeTlsFiles(folder);
  const [serverPort = 0, clientPort = 0] = await freePorts(2);
  const start = (kind: string, port: number, target: number) =>
    startChild({
      command: process.execPath,
      arguments: ["--disable-warning=DEP0060", HOP, kind, String(port), String(target), ca, cert, key],
      env: process.env,
      stdio: ["ignore", "ignore", "inherit"],
    });
  const startedMonoMs = performance.now();
  const server = await start("server", serverPort, origin.port);
  const client = await start("client", clientPort, serverPort);
  await untilServed({ port: clientPort, timeoutMs: READY_TIMEOUT_MS });
  const startMs = performance.now() - startedMonoMs;
  return {
    name: "http-proxy",
    url: `http://127.0.0.1:${clientPort}/`,
    host: null,
    hops: [client.pid, server.pid],
    startMs,
    async close() {
      await client.stop("SIGTERM", STOP_GRACE_MS);
      await server.stop("SIGTERM", STOP_GRACE_MS);
    },
  };
};

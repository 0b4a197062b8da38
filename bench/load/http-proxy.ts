// Bare http-proxy in front of bare http-proxy: the floor of gateways written by hand in Node.
import { join } from "node:path";
import { freePorts } from "../../cli/run/free-ports.ts";
import type { StartContender } from "./contender.ts";
import { writeTlsFiles } from "./tls-files.ts";
import { untilServed } from "./until-served.ts";

const READY_TIMEOUT_MS = 20_000;
const HOP = join(import.meta.dirname, "http-proxy-hop.ts");

/** Starts both hops. */
export const startHttpProxyPair: StartContender = async ({ originPort, folder, start }) => {
  const { ca, cert, key } = await writeTlsFiles(folder);
  const [serverPort = 0, clientPort = 0] = await freePorts(2);
  const startHop = (kind: string, port: number, target: number) =>
    start({
      command: process.execPath,
      arguments: ["--disable-warning=DEP0060", HOP, kind, String(port), String(target), ca, cert, key],
      env: process.env,
      stdio: ["ignore", "ignore", "inherit"],
    });
  const startedMonoMs = performance.now();
  const server = await startHop("server", serverPort, originPort);
  const client = await startHop("client", clientPort, serverPort);
  await untilServed({ port: clientPort, timeoutMs: READY_TIMEOUT_MS });
  const startMs = performance.now() - startedMonoMs;
  return {
    name: "http-proxy",
    url: `http://127.0.0.1:${clientPort}/`,
    host: null,
    hops: [client.pid, server.pid],
    startMs,
  };
};

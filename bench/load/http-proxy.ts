// Bare http-proxy in front of bare http-proxy: the floor of gateways written by hand in Node. The program of a hop is peers/http-proxy-hop.ts.
import { readFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { freePorts } from "../../cli/run/free-ports.ts";
import type { StartContender } from "./contender.ts";
import { startHop } from "./hop-process.ts";
import { writeTlsFiles } from "./tls-files.ts";

const HOP = join(import.meta.dirname, "peers", "http-proxy-hop.ts");
const MANIFEST = join(import.meta.dirname, "..", "..", "node_modules", "http-proxy", "package.json");

/** Starts both hops. */
export const startHttpProxyPair: StartContender = async ({ originPort, folder, start }) => {
  const { ca, cert, key } = await writeTlsFiles(folder);
  const [serverPort = 0, clientPort = 0] = await freePorts(2);
  const startOne = async (kind: string, port: number, target: number) => {
    const own = join(folder, kind);
    await mkdir(own);
    const words = ["--disable-warning=DEP0060", HOP, kind, String(port), String(target), ca, cert, key];
    return startHop({ command: process.execPath, arguments: words, port, folder: own, start });
  };
  const server = await startOne("inbound", serverPort, originPort);
  const client = await startOne("outbound", clientPort, serverPort);
  return {
    name: "http-proxy",
    url: `http://127.0.0.1:${clientPort}/`,
    host: null,
    hops: [client.pid, server.pid],
    startMs: Math.max(client.startMs, server.startMs),
  };
};

/** The installed version. */
export function httpProxyVersion(): string {
  return (JSON.parse(readFileSync(MANIFEST, "utf8")) as { readonly version: string }).version; // npm's own manifest
}

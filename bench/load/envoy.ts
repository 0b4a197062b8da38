// Envoy in front of Envoy, one worker a hop. What each hop does is in peers/envoy-*.yaml.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { freePorts } from "../../cli/run/free-ports.ts";
import type { StartContender } from "./contender.ts";
import { startHop } from "./hop-process.ts";
import { configSuffix, writePeerConfig } from "./peer-config.ts";
import { programVersion } from "./program-version.ts";
import { TLS_NAME, writeTlsFiles } from "./tls-files.ts";

/** Starts both hops. */
export const startEnvoyPair: StartContender = async ({ originPort, folder, start, traffic = "http" }) => {
  const suffix = configSuffix(traffic);
  const { ca, cert, key } = await writeTlsFiles(folder);
  const [serverPort = 0, clientPort = 0] = await freePorts(2);
  const startOne = async (kind: string, port: number, target: number) => {
    const own = join(folder, kind);
    await mkdir(own);
    const config = join(own, "envoy.yaml");
    await writePeerConfig(`envoy-${kind}${suffix}.yaml`, config, { port, target, ca, cert, key, name: TLS_NAME });
    const words = ["-c", config, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"];
    return startHop({ command: "envoy", arguments: words, port, folder: own, start });
  };
  const server = await startOne("inbound", serverPort, originPort);
  const client = await startOne("outbound", clientPort, serverPort);
  return {
    name: "envoy",
    url: `http://127.0.0.1:${clientPort}/`,
    host: null,
    hops: [client.pid, server.pid],
    startMs: Math.max(client.startMs, server.startMs),
  };
};

/** Its version, or null when it is not installed. */
export function envoyVersion(): string | null {
  return programVersion("envoy", ["--version"], /\/([\d.]+)\//);
}

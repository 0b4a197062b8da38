// HAProxy in front of HAProxy, one thread a hop. What each hop does is in peers/haproxy-*.cfg.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { freePorts } from "../../cli/run/free-ports.ts";
import type { StartContender } from "./contender.ts";
import { startHop } from "./hop-process.ts";
import { configSuffix, writePeerConfig } from "./peer-config.ts";
import { programVersion } from "./program-version.ts";
import { TLS_NAME, writeTlsFiles } from "./tls-files.ts";

/** Starts both hops. */
export const startHaproxyPair: StartContender = async ({ originPort, folder, start, traffic = "http" }) => {
  const suffix = configSuffix(traffic);
  const { ca, cert, key } = await writeTlsFiles(folder);
  const bundle = join(folder, "bundle.pem"); // it wants the certificate and its key in one file
  await writeFile(bundle, (await readFile(cert, "utf8")) + (await readFile(key, "utf8")), { mode: 0o600 });
  const [serverPort = 0, clientPort = 0] = await freePorts(2);
  const startOne = async (kind: string, port: number, target: number) => {
    const own = join(folder, kind);
    await mkdir(own);
    const config = join(own, "haproxy.cfg");
    await writePeerConfig(`haproxy-${kind}${suffix}.cfg`, config, { port, target, ca, bundle, name: TLS_NAME });
    return startHop({ command: "haproxy", arguments: ["-db", "-f", config], port, folder: own, start });
  };
  const server = await startOne("inbound", serverPort, originPort);
  const client = await startOne("outbound", clientPort, serverPort);
  return {
    name: "haproxy",
    url: `http://127.0.0.1:${clientPort}/`,
    host: null,
    hops: [client.pid, server.pid],
    startMs: Math.max(client.startMs, server.startMs),
  };
};

/** Its version, or null when it is not installed. */
export function haproxyVersion(): string | null {
  return programVersion("haproxy", ["-v"], /version ([\d.]+)/);
}

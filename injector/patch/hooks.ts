// Lifecycle hooks that ask over http: like probes, the kubelet asks the sidecar, and the sidecar the app. Unlike probes they do something, and the admin
// port is open to the cluster, so each has a path that nobody can guess: whoever may read the pod knows it, as the kubelet does.
import { createHmac } from "node:crypto";
import { type AppAsk, type AskReading, readAsk } from "./app-ask.ts";
import type { Container, Hook, Pod, ProbeHandler } from "../pod/pod.ts";

const TOKEN_BYTES = 16;

/** The original of one hook, as the sidecar gets it in REMORA_HOOKS under `<container>/<hook>`. */
export type AppHook = Extract<AppAsk, { readonly httpGet: object }> & { readonly token: string };

/** What becomes of one hook. */
export type HookReading =
  | { readonly kind: "ask"; readonly hook: AppHook; readonly port: number }
  | Exclude<AskReading, { readonly kind: "ask" }>;

/** Reads a hook of `container`. Only http hooks ask over the network; the kubelet has no others. */
export function readHook(container: Container, handler: ProbeHandler, token: string): HookReading {
  if (handler.httpGet == null) return { kind: "untouched" };
  const reading = readAsk(container, handler);
  if (reading.kind !== "ask" || !("httpGet" in reading.ask)) return reading.kind === "ask" ? { kind: "untouched" } : reading;
  return { kind: "ask", port: reading.port, hook: { ...reading.ask, token } };
}

/** The hook that asks the sidecar instead. */
export function redirectHook(handler: ProbeHandler, container: string, hook: Hook, token: string, adminPort: number): ProbeHandler {
  const { httpGet: _http, ...rest } = handler;
  return { ...rest, httpGet: { path: appHookPath(container, hook, token), port: adminPort, scheme: "HTTP" } };
}

/** Path on the sidecar's admin port under which a hook is found. */
export function appHookPath(container: string, hook: Hook, token: string): string {
  return appHookPrefix(container, hook) + token;
}

/** What the path of a hook begins with, whatever its token. */
export function appHookPrefix(container: string, hook: Hook): string {
  return `/app-hook/${appHookName(container, hook)}/`;
}

/** Name of a hook in REMORA_HOOKS. */
export function appHookName(container: string, hook: Hook): string {
  return `${container}/${hook}`;
}

/** The secret part of the paths of one pod's hooks, from the installation's key: the same pod gets the same one again. */
export function hookToken(pod: Pod, namespace: string, key: string): string {
  const { metadata, spec } = pod;
  const subject = JSON.stringify([namespace, metadata?.generateName ?? metadata?.name ?? "", metadata?.labels ?? {}, spec]);
  return createHmac("sha256", key).update(subject).digest().subarray(0, TOKEN_BYTES).toString("hex");
}

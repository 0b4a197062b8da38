// Lifecycle hooks of the app, run by the sidecar for the kubelet, which has no identity of the mesh. A kubelet takes any answer for success, and only a
// connection without one for failure (kubernetes, pkg/kubelet/lifecycle/handlers.go), so that is how failures are told.
import type { AdminResponse, Route } from "../../core/admin-server.ts";
import type { Logger } from "../../core/log.ts";
import { getFromApp } from "./app-http.ts";
import { type AppHook, parseAppHooks } from "./app-hook-list.ts";

/** A kubelet waits as long as the grace period; nobody's is longer. */
const MAX_HOOK_MS = 3_600_000;
/** What Node says of a plain answer to a TLS greeting. */
const NO_TLS_CODES: ReadonlySet<unknown> = new Set([
  "ERR_SSL_WRONG_VERSION_NUMBER",
  "ERR_SSL_PACKET_LENGTH_TOO_LONG",
  "ERR_SSL_HTTP_REQUEST",
  "EPROTO",
]);

/** Settings of {@link createAppHooks}. */
export interface AppHooksOptions {
  /** Where the app listens: the pod's own address, as the kubelet would dial it. */
  readonly appHost: string;
  readonly log: Logger;
}

/**
 * One route per hook of `json` (REMORA_HOOKS), at `/app-hook/<container>/<hook>/<token>`. A hook does something, so it runs only for who knows the token, and
 * once at a time. Throws `ConfigError("invalid_value")` naming the entry that is wrong.
 */
export function createAppHooks(json: string, options: AppHooksOptions): Route[] {
  return parseAppHooks(json).map((hook): Route => {
    let running: Promise<AdminResponse> | null = null;
    return {
      method: "GET",
      path: `/app-hook/${hook.name}/${hook.token}`,
      handle() {
        running ??= run(hook, options).finally(() => {
          running = null;
        });
        return running;
      },
    };
  });
}

async function run({ name, ask }: AppHook, { appHost, log }: AppHooksOptions): Promise<AdminResponse> {
  const abort = AbortSignal.timeout(MAX_HOOK_MS);
  try {
    const { status } = await getFromApp(ask, appHost, abort).catch((error: unknown) => {
      // As a kubelet, which once took no notice of the scheme and still serves hooks written then.
      if (ask.secure && speaksNoTls(error)) return getFromApp({ ...ask, secure: false }, appHost, abort);
      throw error;
    });
    log.info({ hook: name, status }, "hook of the app");
    return { status: 200, body: `the app answered ${status}\n` };
  } catch (err) {
    log.warn({ err, hook: name, port: ask.port }, "hook of the app failed");
    return { status: 502, body: "the app cannot be asked\n", cut: true };
  }
}

function speaksNoTls(error: unknown): boolean {
  return error instanceof Error && "code" in error && NO_TLS_CODES.has(error.code);
}

// `POST /leave`: tells the mesh that this workload is about to end, while everything is still served. Asked by `remora wait --for-app-end`, where the sidecar
// is a plain container and hears of the pod's end no later than the app. Only programs of the pod may ask.
import { isLoopback } from "../../core/admin-routes.ts";
import type { Route } from "../../core/admin-server.ts";
import type { Logger } from "../../core/log.ts";

/** The route; `leave` is called for each accepted request, and may be called again. */
export function leaveRoute(log: Logger, leave: () => void): Route {
  return {
    method: "POST",
    path: "/leave",
    handle({ remoteAddress, headers }) {
      // Fails closed: an unknown peer address is not loopback. A browser's request is local too, but any web page can make one; it says `Origin`.
      if (!isLoopback(remoteAddress) || headers.origin !== undefined) {
        log.warn({ remoteAddress }, "leave refused, the peer is not a local program");
        return { status: 403, body: { error: "forbidden", message: "Only programs of this host or pod may ask to leave." } };
      }
      log.info({ remoteAddress }, "leaving: peers are told to go elsewhere");
      leave();
      return { status: 202, body: { leaving: true } };
    },
  };
}

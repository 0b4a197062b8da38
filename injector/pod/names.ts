// Names of everything that the injector adds to a pod, and where it mounts it. They are part of what other tools and people may rely on.

/** The container that carries traffic. */
export const SIDECAR_CONTAINER = "remora-sidecar";
/** The init container that redirects it. */
export const INIT_CONTAINER = "remora-init";
export const TOKEN_VOLUME = "remora-token";
export const STATE_VOLUME = "remora-state";
/** Name of the sidecar's one declared port. */
export const ADMIN_PORT_NAME = "remora-admin";
/** Where the projected token and the state folder are mounted. */
export const TOKEN_DIR = "/var/run/secrets/remora.io";
export const STATE_DIR = "/var/run/remora";

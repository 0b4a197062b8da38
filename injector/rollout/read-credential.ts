// What shows a registry that it may be read as a whole: the token of the settings, the service-account token of this pod, or, for people with a kubeconfig, a token of
// the account `remora-reader` that the API server makes for whoever may ask for one. So who reads the mesh from a laptop is a question of RBAC.
import { readFile } from "node:fs/promises";

/** Its account is named in REMORA_MESH_READERS of the manifests. */
const READER_ACCOUNT = "remora-reader";
const AUDIENCE = "remora.io";
/** The API server gives none for less. */
const LIFE_SECONDS = 600;
const RENEW_AFTER_MS = 300_000;

/** Header that passes through the API server's proxy, which takes `Authorization` for itself. */
export const READ_TOKEN_HEADER = "x-remora-token";

/** Gives the credential to send; null: none, which is enough for a registry on this machine. Never rejects. */
export type ReadCredential = () => Promise<string | null>;

/** `token` when there is one, else what is in `tokenFile` at each time. */
export function ownCredential(token: string | null, tokenFile: string): ReadCredential {
  if (token !== null) return async () => token;
  return () =>
    readFile(tokenFile, "utf8").then(
      (text) => text.trim(),
      () => null,
    );
}

/** A token of the reader account, by `post` to the API server; asked for again before it ends. One that is not given is tried again with the next call. */
export function readerCredential(
  controlNamespace: string,
  post: (path: string, body: object) => Promise<unknown>,
  monoMs: () => number,
): ReadCredential {
  const path = `/api/v1/namespaces/${encodeURIComponent(controlNamespace)}/serviceaccounts/${READER_ACCOUNT}/token`;
  const body = {
    apiVersion: "authentication.k8s.io/v1",
    kind: "TokenRequest",
    spec: { audiences: [AUDIENCE], expirationSeconds: LIFE_SECONDS },
  };
  let held: { readonly token: Promise<string | null>; readonly atMonoMs: number } | null = null;

  async function ask(): Promise<string | null> {
    const answer = (await post(path, body).catch(() => null)) as { readonly status?: { readonly token?: unknown } } | null;
    const token = answer?.status?.token;
    if (typeof token === "string") return token;
    held = null;
    return null;
  }

  return () => {
    if (held === null || monoMs() - held.atMonoMs > RENEW_AFTER_MS) held = { token: ask(), atMonoMs: monoMs() };
    return held.token;
  };
}

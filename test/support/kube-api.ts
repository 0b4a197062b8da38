// A small real HTTP(S) server that behaves like the part of the Kubernetes API that Remora uses: objects with optimistic locking, lists with
// selectors, watches that resume, patches, and TokenReview. It owns no schema: whatever is written is stored. Tests decide who may do what.
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import jsonPatch from "fast-json-patch";

const HISTORY_LIMIT = 1000;
const MAX_BODY_BYTES = 4 * 1024 * 1024;
const PATH = /^\/(?:api|apis\/([^/]+))\/([^/]+)(?:\/namespaces\/([^/]+)(?=\/[^/]+))?\/([^/]+)(?:\/([^/]+))?(?:\/([^/]+))?$/;

/** Any Kubernetes object, as stored. */
export interface KubeObject {
  apiVersion?: string;
  kind?: string;
  metadata: {
    name: string;
    namespace?: string;
    uid?: string;
    resourceVersion?: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
    [key: string]: unknown;
  };
  [key: string]: unknown;
}

/** What a request asks for, handed to {@link KubeApiOptions.authorize}. */
export interface KubeRequest {
  readonly verb: "get" | "list" | "watch" | "create" | "update" | "patch" | "delete";
  readonly group: string;
  readonly resource: string;
  readonly namespace: string | null;
  readonly name: string | null;
  readonly token: string | null;
}

/** Whom a token belongs to: `system:serviceaccount:<namespace>:<name>` and the audiences it is good for. */
export interface KubeToken {
  readonly username: string;
  readonly uid?: string;
  readonly audiences: readonly string[];
}

/** Settings of {@link startKubeApi}; all optional. */
export interface KubeApiOptions {
  /** Serve HTTPS with this key and chain (PEM) instead of HTTP. */
  readonly tls?: { readonly key: string; readonly cert: string };
  /** Answers 403 when it returns false. Default: everything is allowed. */
  authorize?(request: KubeRequest): boolean;
  /** Fixed port, to come back on the same address after a `close`. Default 0. */
  readonly port?: number;
}

/** A running stand-in. */
export interface KubeApi {
  readonly port: number;
  /** `http://127.0.0.1:<port>` or https. */
  readonly url: string;
  /** A kubeconfig file (JSON is YAML) that names this server; `token` is sent as bearer token. */
  kubeconfig(options?: { readonly token?: string; readonly ca?: string; readonly namespace?: string }): string;
  /** Stores or replaces an object as if a client had done it; watchers see it. `resource` is the plural, e.g. "services". */
  put(resource: string, object: KubeObject): KubeObject;
  /** The stored object, or null. */
  get(resource: string, namespace: string | null, name: string): KubeObject | null;
  /** Removes an object; watchers see it. */
  remove(resource: string, namespace: string | null, name: string): void;
  /** Makes TokenReview know `token`. */
  allowToken(token: string, owner: KubeToken): void;
  /** Makes TokenReview forget `token`. */
  revokeToken(token: string): void;
  /** The next `count` requests for which `match` says true are answered with `status`. */
  failNext(status: number, count?: number, match?: (request: KubeRequest) => boolean): void;
  /** Ends every running watch, as an API server that restarts does. With `forget` older resource versions answer 410 Gone. */
  dropWatches(options?: { readonly forget?: boolean }): void;
  /** Every request seen so far, oldest first. */
  readonly requests: readonly KubeRequest[];
  close(): Promise<void>;
}

interface Change {
  readonly version: number;
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly resource: string;
  readonly object: KubeObject;
}

interface Watcher {
  readonly resource: string;
  readonly namespace: string | null;
  readonly matches: (object: KubeObject) => boolean;
  readonly response: ServerResponse;
  /** Keys of the objects that this watcher believes exist, so that leaving the selector looks like a deletion. */
  readonly shown: Set<string>;
}

interface Target {
  readonly group: string;
  readonly version: string;
  readonly namespace: string | null;
  readonly resource: string;
  readonly name: string | null;
}

class ApiFailure extends Error {
  readonly status: number;
  readonly reason: string;

  constructor(status: number, reason: string, message: string) {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

/** Starts the stand-in on 127.0.0.1. */
export async function startKubeApi(options: KubeApiOptions = {}): Promise<KubeApi> {
  const objects = new Map<string, KubeObject>();
  const tokens = new Map<string, KubeToken>();
  const watchers = new Set<Watcher>();
  const sockets = new Set<Socket>();
  const requests: KubeRequest[] = [];
  const failures: { status: number; left: number; match: (request: KubeRequest) => boolean }[] = [];
  let history: Change[] = [];
  let forgottenBefore = 0;
  let version = 1;

  function record(type: Change["type"], resource: string, object: KubeObject): void {
    const change = { version, type, resource, object };
    history.push(change);
    if (history.length > HISTORY_LIMIT) forgottenBefore = history.shift()?.version ?? forgottenBefore;
    for (const watcher of watchers) show(watcher, change);
  }

  function store(resource: string, object: KubeObject): KubeObject {
    const key = keyOf(resource, object.metadata.namespace ?? null, object.metadata.name);
    const before = objects.get(key);
    version += 1;
    const stored = structuredClone(object);
    stored.metadata.resourceVersion = String(version);
    stored.metadata.uid = before?.metadata.uid ?? stored.metadata.uid ?? crypto.randomUUID();
    stored.metadata["creationTimestamp"] = before?.metadata["creationTimestamp"] ?? new Date().toISOString();
    objects.set(key, stored);
    record(before === undefined ? "ADDED" : "MODIFIED", resource, stored);
    return structuredClone(stored);
  }

  function remove(resource: string, namespace: string | null, name: string): void {
    const key = keyOf(resource, namespace, name);
    const before = objects.get(key);
    if (before === undefined) return;
    objects.delete(key);
    version += 1;
    record("DELETED", resource, { ...before, metadata: { ...before.metadata, resourceVersion: String(version) } });
  }

  function reviewToken(review: Record<string, unknown>): unknown {
    const spec = (review["spec"] ?? {}) as { token?: string; audiences?: string[] };
    const owner = tokens.get(spec.token ?? "");
    const wanted = spec.audiences ?? [];
    const granted = owner?.audiences.filter((audience) => wanted.length === 0 || wanted.includes(audience)) ?? [];
    const status =
      owner === undefined || granted.length === 0
        ? { authenticated: false, user: {}, error: "invalid bearer token" }
        : {
            authenticated: true,
            audiences: granted,
            user: { username: owner.username, uid: owner.uid ?? "uid-of-owner", groups: ["system:serviceaccounts"] },
          };
    return { ...review, status };
  }

  function list(target: Target, matches: (object: KubeObject) => boolean, response: ServerResponse): void {
    const items = [...objects].filter(([key, object]) => isUnder(key, target) && matches(object)).map(([, object]) => object);
    const kind = `${items[0]?.kind ?? "Object"}List`;
    answer(response, 200, { kind, apiVersion: apiVersionOf(target), metadata: { resourceVersion: String(version) }, items });
  }

  function watch(target: Target, query: URLSearchParams, matches: (object: KubeObject) => boolean, response: ServerResponse): void {
    const since = Number(query.get("resourceVersion") ?? "0");
    response.writeHead(200, { "content-type": "application/json" });
    response.flushHeaders();
    if (since !== 0 && since < forgottenBefore) {
      const status = statusObject(410, "Expired", `too old resource version: ${since} (${forgottenBefore})`);
      response.end(`${JSON.stringify({ type: "ERROR", object: status })}\n`);
      return;
    }
    const watcher: Watcher = { resource: target.resource, namespace: target.namespace, matches, response, shown: new Set() };
    const known = [...objects].filter(([key, object]) => isUnder(key, target) && matches(object));
    if (since === 0) {
      for (const [, object] of known) show(watcher, { version, type: "ADDED", resource: target.resource, object });
    } else {
      // What a client listed at `since` is what now exists, unless it was born later; the replay below adds that.
      const bornLater = new Set(
        history.filter((c) => c.version > since && c.type === "ADDED").map((c) => keyOfObject(c.resource, c.object)),
      );
      for (const [key] of known) if (!bornLater.has(key)) watcher.shown.add(key);
      for (const change of history) {
        if (change.version <= since) continue;
        if (change.type === "DELETED") watcher.shown.add(keyOfObject(change.resource, change.object));
        show(watcher, change);
      }
    }
    watchers.add(watcher);
    const seconds = Number(query.get("timeoutSeconds") ?? "0");
    const timer = seconds > 0 ? setTimeout(() => response.end(), seconds * 1000).unref() : null;
    response.on("close", () => {
      watchers.delete(watcher);
      if (timer !== null) clearTimeout(timer);
    });
  }

  function create(target: Target, body: KubeObject, response: ServerResponse): void {
    const metadata = body.metadata ?? { name: "" };
    const name = metadata.name ?? `${String(metadata["generateName"] ?? "")}${crypto.randomUUID().slice(0, 5)}`;
    if (objects.has(keyOf(target.resource, target.namespace, name))) {
      throw new ApiFailure(409, "AlreadyExists", `${target.resource} "${name}" already exists`);
    }
    const placed = { ...metadata, name, ...(target.namespace === null ? {} : { namespace: target.namespace }) };
    answer(response, 201, store(target.resource, { ...withStringData(body), metadata: placed }));
  }

  function existing(target: Target): KubeObject {
    const found = objects.get(keyOf(target.resource, target.namespace, target.name ?? ""));
    if (found === undefined) throw new ApiFailure(404, "NotFound", `${target.resource} "${target.name}" not found`);
    return found;
  }

  function refuseStale(target: Target, current: KubeObject, claimed: string | undefined): void {
    if (claimed === undefined || claimed === "" || claimed === current.metadata.resourceVersion) return;
    const text = `Operation cannot be fulfilled on ${target.resource} "${target.name}": the object has been modified`;
    throw new ApiFailure(409, "Conflict", text);
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://kube");
    const target = parseTarget(url.pathname);
    if (target === null) throw new ApiFailure(404, "NotFound", `no such path: ${url.pathname}`);
    const asked: KubeRequest = { ...target, verb: verbOf(request, target, url.searchParams), token: bearerToken(request) };
    requests.push(asked);
    const failure = failures.find((entry) => entry.left > 0 && entry.match(asked));
    if (failure !== undefined) {
      failure.left -= 1;
      throw new ApiFailure(failure.status, "InjectedFailure", "told to fail");
    }
    if (options.authorize !== undefined && !options.authorize(asked)) {
      throw new ApiFailure(403, "Forbidden", `cannot ${asked.verb} resource "${asked.resource}" in API group "${asked.group}"`);
    }
    const matches = selectorOf(url.searchParams);
    switch (asked.verb) {
      case "list":
        return list(target, matches, response);
      case "watch":
        return watch(target, url.searchParams, matches, response);
      case "get":
        return answer(response, 200, existing(target));
      case "create": {
        const body = (await readJson(request)) as KubeObject;
        if (target.resource === "tokenreviews") return answer(response, 201, reviewToken(body));
        return create(target, body, response);
      }
      case "update": {
        const body = (await readJson(request)) as KubeObject;
        const current = existing(target);
        refuseStale(target, current, body.metadata.resourceVersion);
        const placed = {
          ...body.metadata,
          name: current.metadata.name,
          ...(target.namespace === null ? {} : { namespace: target.namespace }),
        };
        return answer(response, 200, store(target.resource, { ...withStringData(body), metadata: placed }));
      }
      case "patch": {
        const body = await readJson(request);
        const current = existing(target);
        const patched = applyPatch(current, body, request.headers["content-type"] ?? "");
        refuseStale(target, current, patched.metadata.resourceVersion);
        return answer(response, 200, store(target.resource, patched));
      }
      case "delete":
        existing(target);
        remove(target.resource, target.namespace, target.name ?? "");
        return answer(response, 200, { kind: "Status", apiVersion: "v1", status: "Success" });
    }
  }

  function onRequest(request: IncomingMessage, response: ServerResponse): void {
    serve(request, response).catch((error: unknown) => {
      const failure = error instanceof ApiFailure ? error : new ApiFailure(500, "InternalError", String(error));
      if (!response.headersSent) answer(response, failure.status, statusObject(failure.status, failure.reason, failure.message));
      else response.destroy();
    });
  }

  const server: Server = options.tls === undefined ? createServer(onRequest) : createTlsServer(options.tls, onRequest);
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => {});
  });
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(options.port ?? 0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const url = `${options.tls === undefined ? "http" : "https"}://127.0.0.1:${port}`;

  return {
    port,
    url,
    requests,
    kubeconfig: (given = {}) => formatKubeconfig(url, given),
    put: (resource, object) => store(resource, object),
    get: (resource, namespace, name) => structuredClone(objects.get(keyOf(resource, namespace, name)) ?? null),
    remove,
    allowToken: (token, owner) => void tokens.set(token, owner),
    revokeToken: (token) => void tokens.delete(token),
    failNext: (status, count = 1, match = () => true) => void failures.push({ status, left: count, match }),
    dropWatches({ forget = false } = {}) {
      if (forget) {
        version += 1;
        forgottenBefore = version;
        history = [];
      }
      for (const watcher of watchers) watcher.response.destroy();
    },
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

function keyOf(resource: string, namespace: string | null, name: string): string {
  return `${resource}/${namespace ?? ""}/${name}`;
}

function keyOfObject(resource: string, object: KubeObject): string {
  return keyOf(resource, object.metadata.namespace ?? null, object.metadata.name);
}

function isUnder(key: string, target: Target): boolean {
  return key.startsWith(target.namespace === null ? `${target.resource}/` : `${target.resource}/${target.namespace}/`);
}

function show(watcher: Watcher, change: Change): void {
  const { object, resource } = change;
  if (resource !== watcher.resource) return;
  if (watcher.namespace !== null && object.metadata.namespace !== watcher.namespace) return;
  const key = keyOfObject(resource, object);
  const visible = change.type !== "DELETED" && watcher.matches(object);
  if (!visible && !watcher.shown.has(key)) return;
  const type = visible ? (watcher.shown.has(key) ? "MODIFIED" : "ADDED") : "DELETED";
  if (visible) watcher.shown.add(key);
  else watcher.shown.delete(key);
  watcher.response.write(`${JSON.stringify({ type, object })}\n`);
}

function parseTarget(path: string): Target | null {
  const match = PATH.exec(decodeURI(path));
  if (match === null) return null;
  const [, group = "", version = "v1", namespace = null, resource = "", name = null] = match;
  return { group, version, namespace, resource, name };
}

function apiVersionOf(target: Target): string {
  return target.group === "" ? target.version : `${target.group}/${target.version}`;
}

function verbOf(request: IncomingMessage, target: Target, query: URLSearchParams): KubeRequest["verb"] {
  switch (request.method) {
    case "POST":
      return "create";
    case "PUT":
      return "update";
    case "PATCH":
      return "patch";
    case "DELETE":
      return "delete";
    default:
      if (target.name !== null) return "get";
      return ["1", "true"].includes(query.get("watch") ?? "") ? "watch" : "list";
  }
}

function bearerToken(request: IncomingMessage): string | null {
  const [scheme = "", token = ""] = (request.headers.authorization ?? "").split(" ");
  return scheme.toLowerCase() === "bearer" ? token : null;
}

/** Reads `labelSelector` (k=v, k==v, k!=v, k, !k) and `fieldSelector` (metadata.name, metadata.namespace). */
function selectorOf(query: URLSearchParams): (object: KubeObject) => boolean {
  const terms = (text: string | null) => (text ?? "").split(",").filter((term) => term !== "");
  const labels = terms(query.get("labelSelector"));
  const fields = terms(query.get("fieldSelector"));
  return (object) =>
    labels.every((term) => termHolds(term, (key) => object.metadata.labels?.[key])) &&
    fields.every((term) => termHolds(term, (key) => (key === "metadata.name" ? object.metadata.name : object.metadata.namespace)));
}

function termHolds(term: string, read: (key: string) => string | undefined): boolean {
  const [, key = "", operator, wanted = ""] = /^([^!=]*)(!=|==|=)?(.*)$/.exec(term) ?? [];
  if (operator === undefined) return term.startsWith("!") ? read(term.slice(1)) === undefined : read(key) !== undefined;
  return operator === "!=" ? read(key) !== wanted : read(key) === wanted;
}

function withStringData(object: KubeObject): KubeObject {
  const { stringData, ...rest } = object;
  if (stringData === undefined) return object;
  const encoded = Object.entries(stringData as Record<string, string>).map(([key, text]) => [key, Buffer.from(text).toString("base64")]);
  return { ...rest, data: { ...(rest["data"] as object | undefined), ...Object.fromEntries(encoded) } } as KubeObject;
}

function applyPatch(current: KubeObject, patch: unknown, contentType: string): KubeObject {
  switch (contentType.split(";")[0]?.trim()) {
    case "application/json-patch+json":
      try {
        return jsonPatch.applyPatch(structuredClone(current), patch as jsonPatch.Operation[], true).newDocument;
      } catch (error) {
        throw new ApiFailure(422, "Invalid", `the patch does not apply: ${error instanceof Error ? error.name : String(error)}`);
      }
    case "application/merge-patch+json":
    case "application/strategic-merge-patch+json":
      return mergePatch(structuredClone(current), patch) as KubeObject;
    default:
      throw new ApiFailure(415, "UnsupportedMediaType", `unsupported patch type ${contentType}`);
  }
}

/** RFC 7396. Lists are replaced as a whole, also for a strategic merge, which the real server would merge by key. */
function mergePatch(target: unknown, patch: unknown): unknown {
  if (typeof patch !== "object" || patch === null || Array.isArray(patch)) return patch;
  const result: Record<string, unknown> = typeof target === "object" && target !== null && !Array.isArray(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else result[key] = mergePatch(result[key], value);
  }
  return result;
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) throw new ApiFailure(413, "RequestEntityTooLarge", `more than ${MAX_BODY_BYTES} bytes`);
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString("utf8"));
  } catch {
    throw new ApiFailure(400, "BadRequest", "the body is not JSON");
  }
}

function statusObject(code: number, reason: string, message: string): object {
  return { kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", message, reason, code };
}

function answer(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}

function formatKubeconfig(url: string, { token, ca, namespace = "default" }: { token?: string; ca?: string; namespace?: string }): string {
  // The client library speaks plain HTTP only when told not to verify TLS.
  const trust =
    ca === undefined ? { "insecure-skip-tls-verify": true } : { "certificate-authority-data": Buffer.from(ca).toString("base64") };
  const cluster = { server: url, ...trust };
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "test", cluster }],
    users: [{ name: "test", user: token === undefined ? {} : { token } }],
    contexts: [{ name: "test", context: { cluster: "test", user: "test", namespace } }],
    "current-context": "test",
  });
}

// One GET of the app as a kubelet makes it (pkg/probe/http): its own user agent, any certificate, no connection kept, redirects followed within the app and
// nowhere else, and no more of the body than it would read.
import { type IncomingMessage, request as httpRequest, type RequestOptions } from "node:http";
import { request as httpsRequest } from "node:https";
import type { Ask, AskHeaders } from "./app-ask.ts";

/** Requests for one question, the first included. */
const MAX_REQUESTS = 10;
const MAX_BODY_BYTES = 10 * 1024;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** The answer that counts: the first that leads nowhere else within the app. */
export interface AppAnswer {
  readonly status: number;
  /** Path and port that gave it, for messages. */
  readonly path: string;
  readonly port: number;
}

/** What goes wrong when an app redirects for ever. */
export class TooManyRedirects extends Error {}

/** Asks; rejects when nothing answers, when the answer breaks off, at `abort`, and with {@link TooManyRedirects}. */
export async function getFromApp(what: Extract<Ask, { kind: "http" }>, host: string, abort: AbortSignal): Promise<AppAnswer> {
  const own = `${what.secure ? "https" : "http"}://${host.includes(":") ? `[${host}]` : host}:${what.port}`;
  let url = new URL(own + what.path);
  let target = sendable(what.path) ?? url.pathname + url.search;
  for (let requests = 0; requests < MAX_REQUESTS; requests += 1) {
    const answer = await get(url, target, headersOf(what.headers), abort);
    const status = answer.statusCode ?? 0;
    const location = REDIRECTS.has(status) ? answer.headers.location : undefined;
    if (location === undefined || !URL.canParse(location, url)) {
      await readSome(answer);
      return { status, path: url.pathname, port: what.port };
    }
    answer.destroy();
    const next = new URL(location, url);
    // Beyond the app, being sent away is answer enough.
    if (next.hostname !== url.hostname) return { status, path: url.pathname, port: what.port };
    url = next;
    target = url.pathname + url.search;
  }
  throw new TooManyRedirects(`the app redirects ${MAX_REQUESTS} times and more`);
}

/** The path as it was written, where HTTP can carry it; a URL would resolve its dots. */
function sendable(path: string): string | null {
  const [target = ""] = path.split("#");
  return /^[\x21-\x7e]+$/.test(target) ? target : null;
}

/** A header set to nothing is not sent, as a kubelet has it for the two that it sets itself. */
function headersOf(given: AskHeaders): Record<string, string | string[]> {
  const usual: Record<string, string> = { "user-agent": "kube-probe/remora", accept: "*/*" };
  const headers: Readonly<Record<string, string | readonly string[]>> = { ...usual, ...given, connection: "close" };
  const sent = Object.entries(headers).filter(([name, value]) => !(Object.hasOwn(usual, name) && value === ""));
  return Object.fromEntries(sent.map(([name, value]) => [name, typeof value === "string" ? asBytes(value) : value.map(asBytes)]));
}

/** Node writes a header one byte for each character, a kubelet writes UTF-8. */
function asBytes(value: string): string {
  return Buffer.from(value, "utf8").toString("latin1");
}

function get(url: URL, path: string, headers: Record<string, string | string[]>, signal: AbortSignal): Promise<IncomingMessage> {
  const hostname = url.hostname.replace(/^\[|\]$/g, "");
  const port = url.port === "" ? (url.protocol === "https:" ? 443 : 80) : Number(url.port);
  const options: RequestOptions = { hostname, port, path, headers, agent: false, signal };
  return new Promise((resolve, reject) => {
    // An app's own certificate is its own business, as it is to the kubelet.
    const asked = url.protocol === "https:" ? httpsRequest({ ...options, rejectUnauthorized: false }) : httpRequest(options);
    asked.on("response", resolve);
    asked.on("error", reject);
    asked.end();
  });
}

/** Reads as much of the body as a kubelet would; an answer that breaks off before that is none. */
function readSome(answer: IncomingMessage): Promise<void> {
  return new Promise((resolve, reject) => {
    let bytes = 0;
    answer.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes < MAX_BODY_BYTES) return;
      resolve();
      answer.destroy();
    });
    answer.on("end", resolve);
    answer.on("error", reject);
    answer.on("close", () => reject(new Error("the answer broke off")));
  });
}

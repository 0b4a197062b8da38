// Protocol detection by first bytes (design 6): reads as little as it can, puts everything back with `unshift`, and never guesses late.
// A peer that stays silent is opaque after a wait; server-speaks-first ports don't come here.
import type { Socket } from "node:net";
import type { Clock } from "../../core/clock.ts";
import { MAX_CLIENT_HELLO_BYTES, MESH_ALPN, readClientHello } from "./client-hello.ts";

/** What travels on a connection. */
export type Detected =
  /** A ClientHello that offers a mesh ALPN. */
  | { readonly kind: "mesh"; readonly serverName: string | null }
  /** Any other TLS: the app's own. */
  | { readonly kind: "tls" }
  | { readonly kind: "http1" }
  /** HTTP/2 with prior knowledge (RFC 9113 section 3.3). */
  | { readonly kind: "http2" }
  | { readonly kind: "opaque" }
  /** No byte came within the wait. */
  | { readonly kind: "silent" }
  /** The beginning of a ClientHello, mesh or not, whose end did not come within the wait. */
  | { readonly kind: "late" }
  /** The peer went away before it could be told. */
  | { readonly kind: "gone" };

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");
/** Longest method that is looked for; the registered ones end at 17 (UPDATEREDIRECTREF). */
const MAX_METHOD_BYTES = 24;
/** A request line longer than this counts as HTTP/1.1 without having seen its end: the engine answers 414 or 431. */
const MAX_REQUEST_LINE_BYTES = 8 * 1024;
/** Blanks and empty lines that are waited through for a request line. */
const MAX_BLANK_BYTES = 64;
const TOKEN_BYTES = Buffer.from("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "latin1");
const HTTP_VERSION = Buffer.from(" HTTP/", "latin1");

const UNDECIDED = null;

/** What the first bytes say; null while they could still become several things. `suspectsHttp` as in {@link detect}. */
export function classify(bytes: Buffer, suspectsHttp = false): Detected | null {
  const hello = readClientHello(bytes);
  if (hello.kind === "hello") {
    const mesh = hello.alpn.some((name) => (MESH_ALPN as readonly string[]).includes(name));
    return mesh ? { kind: "mesh", serverName: hello.serverName } : { kind: "tls" };
  }
  if (hello.kind === "incomplete") return bytes.length > MAX_CLIENT_HELLO_BYTES ? { kind: "tls" } : UNDECIDED;
  const compared = Math.min(bytes.length, PREFACE.length);
  if (bytes.compare(PREFACE, 0, compared, 0, compared) === 0) return compared === PREFACE.length ? { kind: "http2" } : UNDECIDED;
  return suspectsHttp ? classifySuspicious(bytes) : classifyRequestLine(bytes);
}

/** HTTP/1.1 is an upper case method, a space, and ` HTTP/` before the first line ends; `SET k v` (Redis) and `HELO x` (SMTP) are not. */
function classifyRequestLine(bytes: Buffer): Detected | null {
  const space = bytes.subarray(0, MAX_METHOD_BYTES + 1).indexOf(0x20);
  const methodBytes = space === -1 ? bytes.length : space;
  if (methodBytes === 0 || methodBytes > MAX_METHOD_BYTES) return { kind: "opaque" };
  for (let index = 0; index < methodBytes; index++) if (!isMethodByte(bytes[index] as number)) return { kind: "opaque" };
  if (space === -1) return UNDECIDED;
  const lineEnd = bytes.indexOf(0x0a, space);
  if (lineEnd === -1) return bytes.length > MAX_REQUEST_LINE_BYTES ? { kind: "http1" } : UNDECIDED;
  return bytes.subarray(space, lineEnd).includes(HTTP_VERSION) ? { kind: "http1" } : { kind: "opaque" };
}

/**
 * Whatever some server takes for a request is one: blank lines and blanks before it (node:http, Python), tabs between its parts (Python), methods in lower
 * case or of any token (Go), no version (HTTP/0.9). The engine refuses what is no good HTTP; relayed as opaque, it would reach such a server past every stage.
 */
function classifySuspicious(all: Buffer): Detected | null {
  let from = 0;
  while (from < all.length && isBlankOrLineEnd(all[from] as number)) from += 1;
  if (from === all.length) return from > MAX_BLANK_BYTES ? { kind: "http1" } : UNDECIDED;
  let tokenEnd = from;
  while (tokenEnd < all.length && isTokenByte(all[tokenEnd] as number)) tokenEnd += 1;
  if (tokenEnd === all.length) return all.length > MAX_REQUEST_LINE_BYTES ? { kind: "http1" } : UNDECIDED;
  if (tokenEnd === from || (all[tokenEnd] !== 0x20 && all[tokenEnd] !== 0x09)) return { kind: "opaque" };
  const lineEnd = all.indexOf(0x0a, tokenEnd);
  if (lineEnd === -1) return all.length > MAX_REQUEST_LINE_BYTES ? { kind: "http1" } : UNDECIDED;
  const line = all.toString("latin1", from, lineEnd);
  return /HTTP\//i.test(line) || /^[A-Z]+[ \t]+\//.test(line) ? { kind: "http1" } : { kind: "opaque" };
}

function isBlankOrLineEnd(byte: number): boolean {
  return byte === 0x20 || byte === 0x09 || byte === 0x0d || byte === 0x0a;
}

/** RFC 9110 section 5.6.2. */
function isTokenByte(byte: number): boolean {
  return TOKEN_BYTES.includes(byte);
}

/** Upper case letters, `-` and `_`: every method in use. */
function isMethodByte(byte: number): boolean {
  return (byte >= 0x41 && byte <= 0x5a) || byte === 0x2d || byte === 0x5f;
}

/**
 * Reads from `socket` until its protocol is known, puts the bytes back, leaves it paused, and calls `done` exactly once. When the peer
 * has half-closed already, nothing can be put back: the bytes are then given as `rest`, and the protocol is opaque.
 * `silentAfterMs` is the wait for the first byte, `decidedAfterMs` the wait for enough of them, from the first on: sending one now and then gains nothing.
 */
export function detect(
  socket: Socket,
  options: {
    readonly clock: Clock;
    readonly silentAfterMs: number;
    readonly decidedAfterMs: number;
    /** True where nothing that a server could take for a request may pass as opaque, however oddly or slowly it is sent. Default: only good HTTP is HTTP. */
    readonly suspectsHttp?: boolean;
  },
  done: (detected: Detected, rest: Buffer | null) => void,
): void {
  let read: Buffer | null = null;
  let last: NodeJS.Immediate | null = null;
  const timer = options.clock.after(options.silentAfterMs, () => onceRead(() => finish({ kind: "silent" })));
  let decideTimer: { cancel(): void } | null = null;

  function onData(chunk: Buffer): void {
    read = read === null ? chunk : Buffer.concat([read, chunk]);
    const detected = classify(read, options.suspectsHttp);
    if (detected !== UNDECIDED) return finish(detected);
    timer.cancel();
    if (decideTimer === null && last !== null) clearImmediate(last); // it came in time after all
    decideTimer ??= options.clock.after(options.decidedAfterMs, () => onceRead(() => finish(undecided(read as Buffer)))); // set by the line above
  }

  /** After a stall of this process what came meanwhile is read only now, and timers come first: nobody is refused for our own delay. */
  function onceRead(run: () => void): void {
    last = setImmediate(run);
  }

  function undecided(bytes: Buffer): Detected {
    if (readClientHello(bytes).kind === "incomplete") return { kind: "late" };
    return options.suspectsHttp === true && classifySuspicious(bytes) === UNDECIDED ? { kind: "http1" } : { kind: "opaque" };
  }

  function onGone(): void {
    finish({ kind: "gone" });
  }

  function onEnd(): void {
    if (read === null) return finish({ kind: "gone" });
    const rest = read;
    read = null;
    finish({ kind: "opaque" }, rest);
  }

  function finish(detected: Detected, rest: Buffer | null = null): void {
    timer.cancel();
    decideTimer?.cancel();
    if (last !== null) clearImmediate(last);
    socket.off("data", onData);
    socket.off("end", onEnd);
    socket.off("error", onGone);
    socket.off("close", onGone);
    if (detected.kind !== "gone") {
      socket.pause();
      if (read !== null) socket.unshift(read);
    }
    done(detected, rest);
  }

  socket.on("data", onData);
  socket.once("end", onEnd);
  socket.once("error", onGone);
  socket.once("close", onGone);
  socket.resume();
}

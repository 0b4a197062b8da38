// One-time join tokens for laptops and VMs (design 7). Each is a file in the state folder that holds the hash of its secret; it is consumed by
// a rename, which succeeds for exactly one of any number of racing calls and stays done over a restart. What the folder holds cannot be used to join.
import { createHash, timingSafeEqual } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../core/clock.ts";
import { CertError } from "../core/errors.ts";
import type { SpiffeId } from "../core/spiffe.ts";
import { parseSpiffeId, spiffeId } from "../core/spiffe.ts";
import { formatJoinToken, JOIN_TOKEN_ID_BYTES, JOIN_TOKEN_SECRET_BYTES, parseJoinToken } from "../core/wire/join-token.ts";
import { formatShortPin } from "../core/x509/pin.ts";
import type { RandomBytes } from "./profile.ts";

const FOLDER = "join-tokens";
const OPEN = ".json";
/** A consumed token keeps its file until it would have expired, so that a replay is told apart from a typing error. */
const USED = ".used";
/** Tokens kept at a time; `create` refuses more. */
const MAX_TOKENS = 10_000;
const MAX_TTL_MS = 30 * 86_400_000;
export const JOIN_TOKEN_TTL_MS = 15 * 60_000;

/** `join`: one certificate, once. `heartbeat`: announce over REST without a sidecar, until it expires. */
export type JoinTokenPurpose = "join" | "heartbeat";

/** What a new token is good for. */
export interface JoinTokenRequest {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly purpose?: JoinTokenPurpose;
  /** Default 15 minutes, at most 30 days. */
  readonly ttlMs?: number;
}

/** A proven token. */
export interface ProvenToken {
  readonly id: string;
  readonly identity: SpiffeId;
}

/** The tokens of one state folder. Several processes may use it at the same time (`remora token` beside `remora control`). */
export interface JoinTokens {
  /** The text to hand over; it is shown once and stored nowhere. */
  create(request: JoinTokenRequest): Promise<string>;
  /** Proves without consuming; throws `CertError("credential_refused")`. */
  prove(text: string, purpose: JoinTokenPurpose): Promise<ProvenToken>;
  /** Consumes a proven token; throws `CertError("credential_refused")` for all but one caller. */
  consume(token: ProvenToken): Promise<void>;
  /** Removes the files of expired tokens. */
  sweep(): Promise<void>;
}

interface StoredToken {
  /** SHA-256 of the secret, hex. */
  readonly secretHash: string;
  readonly identity: string;
  readonly purpose: string;
  readonly expiresAtMs: number;
}

/** Opens the tokens under `stateDir`. `rootDer` gives the root that new tokens pin. */
export function createJoinTokens(options: {
  readonly stateDir: string;
  rootDer(): Buffer;
  readonly trustDomain: string;
  readonly clock: Clock;
  readonly random: RandomBytes;
}): JoinTokens {
  const { clock, random, trustDomain } = options;
  const folder = join(options.stateDir, FOLDER);
  const fileOf = (id: string, state: typeof OPEN | typeof USED) => join(folder, `${id}${state}`);

  async function create(request: JoinTokenRequest): Promise<string> {
    const { purpose = "join", ttlMs = JOIN_TOKEN_TTL_MS } = request;
    if (!(ttlMs > 0 && ttlMs <= MAX_TTL_MS)) throw new CertError("malformed", `a join token lives up to 30 days, not ${ttlMs} ms`);
    const identity = spiffeId({ trustDomain, namespace: request.namespace, serviceAccount: request.serviceAccount });
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await sweep();
    if ((await readdir(folder)).length >= MAX_TOKENS)
      throw new CertError("unavailable", `${MAX_TOKENS} join tokens are waiting already in ${folder}`);
    const id = random(JOIN_TOKEN_ID_BYTES).toString("base64url");
    const secret = random(JOIN_TOKEN_SECRET_BYTES).toString("base64url");
    const stored: StoredToken = { secretHash: hashOf(secret).toString("hex"), identity, purpose, expiresAtMs: clock.nowMs() + ttlMs };
    // Written aside first: another process must never read half a token.
    const draft = join(folder, `${id}.draft`);
    await writeFile(draft, JSON.stringify(stored), { flag: "wx", mode: 0o600 });
    await rename(draft, fileOf(id, OPEN));
    return formatJoinToken({ id, secret, pin: formatShortPin(options.rootDer()) });
  }

  async function prove(text: string, purpose: JoinTokenPurpose): Promise<ProvenToken> {
    const { id, secret } = parseJoinToken(text);
    const open = await readStored(fileOf(id, OPEN));
    const stored = open ?? (await readStored(fileOf(id, USED)));
    // The secret first: who does not know it learns nothing about the token.
    if (stored === null || !timingSafeEqual(hashOf(secret), Buffer.from(stored.secretHash, "hex"))) {
      throw refused(`join token ${id} is unknown or expired`);
    }
    if (open === null) throw refused(`join token ${id} was used before`);
    if (stored.expiresAtMs <= clock.nowMs()) throw refused(`join token ${id} expired at ${new Date(stored.expiresAtMs).toISOString()}`);
    if (stored.purpose !== purpose) throw refused(`join token ${id} is for ${stored.purpose}, not for ${purpose}`);
    return { id, identity: parseSpiffeId(stored.identity) };
  }

  async function consume(token: ProvenToken): Promise<void> {
    try {
      await rename(fileOf(token.id, OPEN), fileOf(token.id, USED));
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === "ENOENT") throw refused(`join token ${token.id} was used before`);
      throw new CertError("unavailable", `cannot mark join token ${token.id} as used: ${(cause as Error).message}`, { cause });
    }
  }

  async function sweep(): Promise<void> {
    for (const name of await readdir(folder).catch(() => [])) {
      const file = join(folder, name);
      const stored = await readStored(file);
      if (stored !== null && stored.expiresAtMs <= clock.nowMs()) await rm(file, { force: true });
    }
  }

  return { create, prove, consume, sweep };
}

/** Null when the file is not there or is not a token: both mean that nobody can join with it. */
async function readStored(file: string): Promise<StoredToken | null> {
  try {
    const value = JSON.parse(await readFile(file, "utf8")) as Partial<StoredToken> | null;
    const { secretHash, identity, purpose, expiresAtMs } = value ?? {};
    if (typeof secretHash !== "string" || !/^[0-9a-f]{64}$/.test(secretHash)) return null;
    if (typeof identity !== "string" || typeof purpose !== "string" || typeof expiresAtMs !== "number") return null;
    return { secretHash, identity, purpose, expiresAtMs };
  } catch {
    return null;
  }
}

function hashOf(secret: string): Buffer {
  return createHash("sha256").update(secret).digest();
}

function refused(why: string): CertError {
  return new CertError("credential_refused", why);
}

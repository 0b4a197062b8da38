// What an identity leaves in the state folder: the streamed trust bundle, and for workloads that joined with a one-time token also keys and
// certificates, because the token cannot be used again after a restart. Files are replaced by rename, mode 0600; a broken or missing file
// means starting anew, and a full disk costs the copy, never the running sidecar.
import { createPrivateKey } from "node:crypto";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "../../core/log.ts";
import type { Generation } from "./generation.ts";

const TRUST_FILE = "trust.json";
const IDENTITY_FILE = "identity.json";

/** A bundle as it was streamed. */
export interface StoredTrust {
  readonly rootsPem: string;
  /** The pins that led to it, sorted: other pins mean another mesh, and the bundle is forgotten. */
  readonly pins: readonly string[];
}

/** The state folder. Writes happen one after the other and all settle, whatever happens to the disk. */
export interface StateFiles {
  readTrust(): Promise<StoredTrust | null>;
  writeTrust(trust: StoredTrust): Promise<void>;
  readGeneration(): Promise<Generation | null>;
  writeGeneration(generation: Generation): Promise<void>;
  /** Resolves when no write is under way. */
  settled(): Promise<void>;
}

/** Opens `folder`; null keeps nothing. */
export function openStateFiles(folder: string | null, log: Logger): StateFiles {
  async function read(name: string): Promise<Record<string, unknown> | null> {
    if (folder === null) return null;
    try {
      const value: unknown = JSON.parse(await readFile(join(folder, name), "utf8"));
      return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : null;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT")
        log.warn({ err: error, file: name }, "a state file cannot be read and is ignored");
      return null;
    }
  }

  let lastWrite: Promise<void> = Promise.resolve();

  function write(name: string, value: object): Promise<void> {
    if (folder === null) return lastWrite;
    lastWrite = lastWrite.then(() => replace(folder, name, value));
    return lastWrite;
  }

  async function replace(into: string, name: string, value: object): Promise<void> {
    const file = join(into, name);
    const draft = `${file}.${process.pid}.draft`;
    try {
      await mkdir(into, { recursive: true, mode: 0o700 });
      await writeFile(draft, JSON.stringify(value), { mode: 0o600 });
      await rename(draft, file);
    } catch (error) {
      log.warn({ err: error, file: name }, "a state file cannot be written; a restart will need the control plane");
      await rm(draft, { force: true }).catch(() => {});
    }
  }

  return {
    async readTrust() {
      const { rootsPem, pins } = (await read(TRUST_FILE)) ?? {};
      if (typeof rootsPem !== "string" || !Array.isArray(pins)) return null;
      return { rootsPem, pins: pins.filter((pin) => typeof pin === "string") };
    },
    writeTrust: (trust) => write(TRUST_FILE, trust),
    async readGeneration() {
      const { certificateChainPem, privateKeyPem, messageCertificate, messageKeyPem } = (await read(IDENTITY_FILE)) ?? {};
      if (typeof certificateChainPem !== "string" || typeof privateKeyPem !== "string") return null;
      if (typeof messageCertificate !== "string" || typeof messageKeyPem !== "string") return null;
      try {
        return {
          certificateChainPem,
          privateKeyPem,
          messageCertificate: Buffer.from(messageCertificate, "base64"),
          messageKey: createPrivateKey(messageKeyPem),
        };
      } catch (error) {
        log.warn({ err: error, file: IDENTITY_FILE }, "a state file cannot be read and is ignored");
        return null;
      }
    },
    writeGeneration: (generation) =>
      write(IDENTITY_FILE, {
        certificateChainPem: generation.certificateChainPem,
        privateKeyPem: generation.privateKeyPem,
        messageCertificate: generation.messageCertificate.toString("base64"),
        messageKeyPem: generation.messageKey.export({ type: "pkcs8", format: "pem" }),
      }),
    settled: () => lastWrite,
  };
}

// Who may call the webhook, where that is configured: API servers that show a certificate of given roots and, on request, of given names. Without it
// whoever reaches the port may ask, and learns from the answers what is injected and what the platform enforces, but can change nothing.
// https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#authenticate-apiservers
import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { TLSSocket } from "node:tls";
import type { Clock } from "../../core/clock.ts";
import { ConfigError } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import { fromPemBundle } from "../../core/x509/pem.ts";

/** How often the file is read again. */
const PERIOD_MS = 30_000;

/** Where it is written who may call. */
export interface ClientsSettings {
  /** PEM file with the roots of callers. */
  readonly file: string;
  /** See {@link WebhookClients}. */
  readonly names: readonly string[];
}

/** Callers that are served. */
export interface WebhookClients {
  /** PEM of the roots; TLS itself refuses what does not chain to them. */
  readonly rootsPem: string;
  /** Common names, DNS names and URIs of which a certificate must hold one; empty for any. */
  readonly names: readonly string[];
}

/** Reads the roots. @throws ConfigError naming the file when it cannot be read or holds no certificate */
export async function readWebhookClients(file: string, names: readonly string[]): Promise<WebhookClients> {
  try {
    const rootsPem = await readFile(file, "utf8");
    const roots = fromPemBundle(rootsPem).map((der) => new X509Certificate(der));
    if (roots.length === 0) throw new Error("it holds no certificate");
    return { rootsPem, names };
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new ConfigError("invalid_settings", `REMORA_WEBHOOK_CLIENT_CA: ${file} cannot be used: ${why}`, { cause });
  }
}

/** Whether the caller's certificate holds one of the names. The chain was verified during the handshake. */
export function mayCall(socket: TLSSocket, { names }: WebhookClients): boolean {
  if (names.length === 0) return true;
  const certificate = socket.getPeerX509Certificate();
  // Fails closed: without a certificate there is no name.
  return certificate !== undefined && namesOf(certificate).some((name) => names.includes(name));
}

/** The roots as the file has them. */
export interface ClientsFollower {
  /** Null: everybody may call. */
  current(): WebhookClients | null;
  /** One listener. */
  onChange(run: (clients: WebhookClients) => void): void;
  /** Why the file cannot be read any more, or null. */
  trouble(): string | null;
  close(): void;
}

/** Reads the roots, and follows the file; one that cannot be read later leaves those that hold. @throws ConfigError when it cannot be read now */
export async function followWebhookClients(
  settings: ClientsSettings | null,
  { clock, log }: { readonly clock: Clock; readonly log: Logger },
): Promise<ClientsFollower> {
  if (settings === null) return { current: () => null, onChange() {}, trouble: () => null, close() {} };
  const { file, names } = settings;
  let holding = await readWebhookClients(file, names);
  let trouble: string | null = null;
  let run: (clients: WebhookClients) => void = () => {};

  async function look(): Promise<void> {
    try {
      const found = await readWebhookClients(file, names);
      trouble = null;
      if (found.rootsPem === holding.rootsPem) return;
      holding = found;
      log.info({ file }, "roots of the webhook's callers replaced");
      run(found);
    } catch (error) {
      trouble = error instanceof Error ? error.message : String(error);
    }
  }

  const ticker = clock.every(PERIOD_MS, () => void look());
  return {
    current: () => holding,
    onChange(listener) {
      run = listener;
    },
    trouble: () => trouble,
    close: () => ticker.cancel(),
  };
}

function namesOf(certificate: X509Certificate): readonly string[] {
  const common = certificate.subject
    .split("\n")
    .filter((line) => line.startsWith("CN="))
    .map((line) => line.slice("CN=".length));
  const alternative = (certificate.subjectAltName ?? "")
    .split(", ")
    .filter((entry) => /^(DNS|URI):/.test(entry))
    .map((entry) => entry.slice("DNS:".length));
  return [...common, ...alternative];
}

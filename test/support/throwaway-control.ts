// A control plane with the CA role alone, on a real gRPC port, for tests of what talks to it. Everything is real but the place: state goes to a
// folder of the test, logs are kept in memory.
import { randomBytes } from "node:crypto";
import type { CertificateAuthority, CertificateAuthorityOptions } from "../../certs/certificate-authority.ts";
import { startCertificateAuthority } from "../../certs/certificate-authority.ts";
import { systemClock } from "../../core/clock.ts";
import { startGrpcServer } from "../../grpc/server.ts";
import type { Logger } from "../../core/log.ts";
import { createLogger } from "../../core/log.ts";
import type { Metrics } from "../../core/metrics.ts";
import { createMetrics } from "../../core/metrics.ts";
import type { SpiffeId } from "../../core/spiffe.ts";
import { parseSpiffeId } from "../../core/spiffe.ts";
import { identityService } from "../../core/wire/load.ts";

/** One line of a log, parsed. */
export type LogLine = Readonly<Record<string, unknown>> & { readonly msg?: string };

/** The running control plane. */
export interface ThrowawayControl {
  readonly ca: CertificateAuthority;
  readonly address: string;
  readonly port: number;
  readonly metrics: Metrics;
  /** Log lines so far, oldest first. */
  readonly lines: readonly LogLine[];
  close(): Promise<void>;
}

/** What a test may change. */
export type ThrowawayControlOptions = Partial<CertificateAuthorityOptions> & {
  readonly stateDir: string;
  /** Default 0; a fixed one comes back where another was. */
  readonly port?: number;
  /** The identity of the server's certificate; default the control plane's. */
  readonly servesAs?: SpiffeId;
};

export function createTestMetrics(): Metrics {
  return createMetrics({ component: "test", version: "0.0.0", commit: "none" });
}

/** A logger that keeps its lines. */
export function createMemoryLog(): { readonly log: Logger; readonly lines: LogLine[] } {
  const lines: LogLine[] = [];
  const stdout = { write: (line: string) => void lines.push(JSON.parse(line) as LogLine) };
  const log = createLogger({ component: "test", level: "debug", stdout });
  return { log, lines };
}

export async function startThrowawayControl(options: ThrowawayControlOptions): Promise<ThrowawayControl> {
  const { log, lines } = createMemoryLog();
  const metrics = createTestMetrics();
  const { port = 0, servesAs, ...given } = options;
  const trustDomain = given.trustDomain ?? "cluster.local";
  const ca = await startCertificateAuthority({
    trustDomain,
    controlNamespace: "remora-system",
    given: null,
    kubernetes: null,
    clock: systemClock,
    random: randomBytes,
    log,
    metrics,
    ...given,
  });
  const own = ca.issueServerCredentials(servesAs ?? parseSpiffeId(`spiffe://${trustDomain}/ns/remora-system/sa/remora-control`));
  const server = await startGrpcServer({
    host: "127.0.0.1",
    port,
    log,
    services: [{ definition: identityService, implementation: ca.identityImplementation }],
    tls: own.tls,
    onTlsChange: own.onTlsChange,
    closeGraceMs: 50,
  });
  return {
    ca,
    metrics,
    lines,
    port: server.port,
    address: `127.0.0.1:${server.port}`,
    async close() {
      await ca.close();
      await server.close();
    },
  };
}

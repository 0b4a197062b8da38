// `--scenario certify`: answers of the CA per second of a core, from request to answer, over open connections of workloads that renew, as fast as they go. An answer is
// two certificates. What the first certificate of a pod adds, its handshake and its credential, is in `--scenario boot`.
import { createSecureContext } from "node:tls";
import { identityService } from "../../core/wire/load.ts";
import type { CertifyRequest, CertifyResponse } from "../../core/wire/identity.ts";
import { createCsr } from "../../core/x509/csr.ts";
import { parseCertificate } from "../../core/x509/certificate.ts";
import { makeKey, type ThrowawayCa } from "../../test/support/throwaway-ca.ts";
import { createLink, type Link } from "./link.ts";
import { meter } from "./meter.ts";
import type { ControlBenchOptions } from "./options.ts";
import { type Latency, latencyOf } from "./tally.ts";
import type { World } from "./world.ts";

const WORKLOADS = 64;
const WARM_UP_MS = 3_000;

/** What was found. */
export interface CertifyResult {
  readonly scenario: "certify";
  readonly answers: number;
  readonly perSecond: number;
  readonly cores: number;
  readonly microsPerAnswer: number;
  /** Answers per second of a whole core. */
  readonly perCore: number;
  readonly answer: Latency;
  readonly refusals: number;
  readonly peakMb: number;
}

interface Workload {
  readonly link: Link;
  readonly request: CertifyRequest;
}

/** Asks without a pause, one question at a time for each of {@link WORKLOADS} connections. */
export async function playCertify(world: World, options: ControlBenchOptions): Promise<CertifyResult> {
  const [replica] = world.replicas;
  if (replica === undefined) throw new Error("there is no control plane");
  const workloads = Array.from({ length: WORKLOADS }, (_, index) => createWorkload(world.ca, replica.grpcPort, `bench/renewing-${index}`));
  try {
    await check(workloads[0] as Workload, world.ca); // there are some
    await askFor(workloads, WARM_UP_MS);
    const end = meter([replica.pid]);
    const { timesMs, refusals } = await askFor(workloads, options.seconds * 1000);
    const { cpuMs, cores, seconds, peakMb } = end();
    const microsPerAnswer = (cpuMs * 1000) / timesMs.length;
    return {
      scenario: "certify",
      answers: timesMs.length,
      perSecond: timesMs.length / seconds,
      cores,
      microsPerAnswer,
      perCore: 1e6 / microsPerAnswer,
      answer: latencyOf(timesMs),
      refusals,
      peakMb,
    };
  } finally {
    for (const { link } of workloads) link.cut();
  }
}

function createWorkload(ca: ThrowawayCa, port: number, name: string): Workload {
  const leaf = ca.leaf(name);
  const context = createSecureContext({ ca: ca.rootPem, key: leaf.keyPem, cert: leaf.certPem, minVersion: "TLSv1.3" });
  const identity = ca.id(name);
  const request = { csr: createCsr({ key: makeKey("p256"), identity }), messageCsr: createCsr({ key: makeKey("p256"), identity }) };
  return { link: createLink(port, context), request };
}

/** The answer has to be worth something, or its speed means nothing. */
async function check({ link, request }: Workload, ca: ThrowawayCa): Promise<void> {
  const { certificateChain, messageCertificate } = await askOnce(link, request);
  for (const der of [certificateChain[0], messageCertificate]) {
    if (der === undefined || !parseCertificate(Buffer.from(der)).verify(ca.root.publicKey))
      throw new Error("the CA's answer does not verify");
  }
}

function askOnce(link: Link, request: CertifyRequest): Promise<CertifyResponse> {
  const method = identityService["Certify"];
  if (method === undefined) throw new TypeError("the wire has no such method");
  return link.ask<CertifyRequest, CertifyResponse>(method, request);
}

async function askFor(workloads: readonly Workload[], forMs: number): Promise<{ readonly timesMs: number[]; readonly refusals: number }> {
  const endMonoMs = performance.now() + forMs;
  const timesMs: number[] = [];
  let refusals = 0;
  await Promise.all(
    workloads.map(async ({ link, request }) => {
      while (performance.now() < endMonoMs) {
        const beganMonoMs = performance.now();
        try {
          await askOnce(link, request);
          timesMs.push(performance.now() - beganMonoMs);
        } catch {
          refusals += 1;
          await new Promise((resolve) => setTimeout(resolve, 100));
        }
      }
    }),
  );
  return { timesMs, refusals };
}

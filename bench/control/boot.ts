// `--scenario boot`: all pods of a cluster start at once. Each connects without a certificate, shows its credential and asks for one, connects with it, reports and watches;
// with the sidecar's own patience where it is told to come again. Each has connections of its own, as pods do.
import { createSecureContext } from "node:tls";
import { setTimeout as sleep } from "node:timers/promises";
import { createHash, randomBytes } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { CertifyRequest, CertifyResponse } from "../../core/wire/identity.ts";
import { formatJoinToken, JOIN_TOKEN_ID_BYTES, JOIN_TOKEN_SECRET_BYTES } from "../../core/wire/join-token.ts";
import { identityService } from "../../core/wire/load.ts";
import { createCsr } from "../../core/x509/csr.ts";
import { toPem } from "../../core/x509/pem.ts";
import { pushedBackMs, STARTING } from "../../sidecar/identity/backoff.ts";
import { makeKey } from "../../test/support/throwaway-ca.ts";
import { createDueClock } from "./due-clock.ts";
import { CallError, createLink, type Link } from "./link.ts";
import { meter, privateMbOf } from "./meter.ts";
import type { ControlBenchOptions } from "./options.ts";
import { type SimulatedSidecar, startSidecar } from "./sidecar.ts";
import { type Latency, latencyOf } from "./tally.ts";
import type { World } from "./world.ts";

const NAMESPACE = "boot";
const TIMEOUT_MS = 120_000;
/** Keys and requests are made before, a few at a time: they are the pods' work, not the control plane's. */
const PREPARED_AT_ONCE = 50;

/** What was found. */
export interface BootResult {
  readonly scenario: "boot";
  readonly pods: number;
  readonly accounts: number;
  /** From the first connection to the last pod that has its certificate; that is announced and knows what it watches. */
  readonly certifiedSeconds: number;
  readonly settledSeconds: number;
  /** Of one pod. */
  readonly certified: Latency;
  readonly settled: Latency;
  /** Questions that were answered with "come again", and those that failed for good. */
  readonly retries: Readonly<Record<string, number>>;
  readonly failures: number;
  readonly cores: number;
  readonly cpuMsPerPod: number;
  readonly privateMb: number;
  readonly peakMb: number;
}

interface Pod {
  readonly name: string;
  readonly service: string;
  readonly address: string;
  readonly keyPem: string;
  readonly request: CertifyRequest;
}

/** Starts all pods in the same moment. */
export async function playBoot(world: World, options: ControlBenchOptions): Promise<BootResult> {
  const [replica] = world.replicas;
  if (replica === undefined) throw new Error("there is no control plane");
  const pods = await preparePods(world, options);
  const clock = createDueClock();
  const retries: Record<string, number> = {};
  const links: Link[] = [];
  const sidecars: SimulatedSidecar[] = [];
  let failures = 0;
  const certifiedMs: number[] = [];
  const settledMs: number[] = [];
  const anonymous = createSecureContext({ ca: world.ca.rootPem, minVersion: "TLSv1.3" });
  const end = meter([replica.pid]);
  const beganMonoMs = performance.now();

  async function certify(pod: Pod): Promise<CertifyResponse | null> {
    for (let failed = 1; performance.now() - beganMonoMs < TIMEOUT_MS; failed += 1) {
      const link = createLink(replica?.grpcPort ?? 0, anonymous);
      try {
        return await ask(link, pod.request);
      } catch (error) {
        const what = error instanceof CallError ? `${error.code} ${error.message.replaceAll(/\d+/g, "N")}` : String(error);
        retries[what.slice(0, 100)] = (retries[what.slice(0, 100)] ?? 0) + 1;
        const hint = error instanceof CallError ? Number(error.trailers["grpc-retry-pushback-ms"] ?? 0) : 0;
        await sleep(pushedBackMs(hint, failed, STARTING, Math.random));
      } finally {
        link.cut();
      }
    }
    return null;
  }

  async function boot(pod: Pod, index: number): Promise<void> {
    const answer = await certify(pod);
    if (answer === null) {
      failures += 1;
      return;
    }
    certifiedMs.push(performance.now() - beganMonoMs);
    const cert = answer.certificateChain.map((der) => toPem(Buffer.from(der), "CERTIFICATE")).join("");
    const link = createLink(
      replica?.grpcPort ?? 0,
      createSecureContext({ ca: world.ca.rootPem, key: pod.keyPem, cert, minVersion: "TLSv1.3" }),
    );
    links.push(link);
    const sidecar = startSidecar({
      link,
      clock,
      tally: world.tally,
      instanceId: pod.name,
      address: pod.address,
      service: pod.service,
      watches: Array.from(
        { length: options.watches },
        (_, step) => pods[(index + step * options.perService + 1) % pods.length]?.service ?? "",
      ),
      messageCertificate: Buffer.from(answer.messageCertificate),
    });
    sidecars.push(sidecar);
    while (!sidecar.isSettled() && performance.now() - beganMonoMs < TIMEOUT_MS) await sleep(25);
    if (sidecar.isSettled()) settledMs.push(performance.now() - beganMonoMs);
    else failures += 1;
  }

  try {
    await Promise.all(pods.map(boot));
    const { cores, cpuMs, peakMb } = end();
    return {
      scenario: "boot",
      pods: pods.length,
      accounts: new Set(pods.map(({ service }) => service)).size,
      certifiedSeconds: Math.max(...certifiedMs) / 1000,
      settledSeconds: Math.max(...settledMs) / 1000,
      certified: latencyOf(certifiedMs),
      settled: latencyOf(settledMs),
      retries,
      failures,
      cores,
      cpuMsPerPod: cpuMs / pods.length,
      privateMb: privateMbOf([replica.pid]),
      peakMb,
    };
  } finally {
    for (const sidecar of sidecars) sidecar.close();
    for (const link of links) link.cut();
  }
}

async function preparePods({ ca, replicas }: World, { sidecars, perService }: ControlBenchOptions): Promise<Pod[]> {
  const stateDir = replicas[0]?.stateDir ?? "";
  const folder = join(stateDir, "join-tokens");
  await mkdir(folder, { recursive: true });
  const pods: Pod[] = [];
  for (let from = 0; from < sidecars; from += PREPARED_AT_ONCE) {
    const indexes = Array.from({ length: Math.min(PREPARED_AT_ONCE, sidecars - from) }, (_, index) => from + index);
    pods.push(...(await Promise.all(indexes.map((index) => preparePod(index)))));
  }
  return pods;

  async function preparePod(index: number): Promise<Pod> {
    const service = `svc-${Math.floor(index / perService)}`;
    const identity = ca.id(`${NAMESPACE}/${service}`);
    const key = makeKey("p256");
    return {
      name: `pod-${index}`,
      service,
      address: `127.200.${index >> 8}.${index & 255}`,
      keyPem: key.export({ type: "pkcs8", format: "pem" }) as string, // PEM export gives a string
      request: {
        csr: createCsr({ key, identity }),
        messageCsr: createCsr({ key: makeKey("p256"), identity }),
        joinToken: await writeToken(folder, identity, ca.root.raw),
      },
    };
  }
}

/** As certs/join-tokens.ts keeps it, whose `create` looks at all tokens for each that it makes. */
async function writeToken(folder: string, identity: string, rootDer: Buffer): Promise<string> {
  const [id, secret] = [JOIN_TOKEN_ID_BYTES, JOIN_TOKEN_SECRET_BYTES].map((bytes) => randomBytes(bytes).toString("base64url"));
  const stored = {
    secretHash: createHash("sha256")
      .update(secret ?? "")
      .digest("hex"),
    identity,
    purpose: "join",
    expiresAtMs: Date.now() + TIMEOUT_MS * 10,
  };
  await writeFile(join(folder, `${id}.json`), JSON.stringify(stored), { mode: 0o600 });
  return formatJoinToken({ id: id ?? "", secret: secret ?? "", pin: createHash("sha256").update(rootDer).digest("base64url") });
}

function ask(link: Link, request: CertifyRequest): Promise<CertifyResponse> {
  const method = identityService["Certify"];
  if (method === undefined) throw new TypeError("the wire has no such method");
  return link.ask<CertifyRequest, CertifyResponse>(method, request);
}

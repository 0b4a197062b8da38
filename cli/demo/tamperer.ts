// Somebody inside the mesh, with an identity of its own, who changes a gRPC request after it was signed: what a hijacked proxy could try. It joins,
// dials and signs with the sidecar's own parts, so that the only thing wrong with its requests is the change.
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../core/clock.ts";
import { silentLogger } from "../../core/log.ts";
import { createMetrics } from "../../core/metrics.ts";
import { spiffeId } from "../../core/spiffe.ts";
import { startIdentity } from "../../sidecar/identity/start-identity.ts";
import { createSigner } from "../../sidecar/signing/signer.ts";
import { createMeshDialer, type MeshConnection } from "../../sidecar/transport/mesh-dial.ts";
import type { Workload } from "../run/workload.ts";

const NAME = "mallory";
const TIMEOUT_MS = 5_000;
const PATH = "/demo.Payments/Charge";
const CONTENT_TYPE = "application/grpc";
/** demo.ChargeRequest { item: "book", cents: 1999 } and the same with 1 cent, in protobuf after gRPC's five bytes. */
const SIGNED_BODY = grpcMessage(Buffer.from("0a04626f6f6b10cf0f", "hex"));
const CHEAPER_BODY = grpcMessage(Buffer.from("0a04626f6f6b1001", "hex"));

/** What is changed after signing. */
export type Change = "nothing" | "body" | "path" | "signature removed";

/** The answer as gRPC sees it. */
export interface TamperedAnswer {
  /** gRPC status code. */
  readonly grpcStatus: number;
  readonly reason: string;
}

/** Joined and ready to try. */
export interface Tamperer {
  readonly identity: string;
  charge(change: Change): Promise<TamperedAnswer>;
  close(): Promise<void>;
}

/** Joins the mesh with a token for the service `mallory`. */
export async function startTamperer(options: {
  readonly controlAddress: string;
  readonly token: (service: string) => Promise<string>;
  readonly target: Workload;
}): Promise<Tamperer> {
  const { target } = options;
  const joinToken = await options.token(NAME);
  const stateDir = await mkdtemp(join(tmpdir(), "remora-demo-mallory-"));
  const clock = systemClock;
  const identity = await startIdentity({
    controlAddress: options.controlAddress,
    identity: spiffeId({ trustDomain: "cluster.local", namespace: "default", serviceAccount: NAME }),
    credential: async () => ({ joinToken }),
    pins: [],
    stateDir,
    clock,
    random: Math.random,
    log: silentLogger(),
    metrics: createMetrics({ component: "demo", version: "0", commit: "0" }),
  });
  const dialer = createMeshDialer({ identity, clock, connectTimeoutMs: TIMEOUT_MS });
  const signer = createSigner({ identity: identity.identity, credentials: () => identity.current(), mode: "sign", clock, randomBytes });
  const peer = spiffeId({ trustDomain: "cluster.local", namespace: target.namespace, serviceAccount: target.service });

  function dial(): Promise<MeshConnection> {
    return new Promise((resolve, reject) => {
      const place = {
        address: target.address,
        dialPort: target.inboundPort,
        port: target.appPort ?? 0,
        identity: peer,
        alpn: ["remora/h2"] as const,
      };
      dialer.dial(place, (error, connection) => (connection === null ? reject(error) : resolve(connection)));
    });
  }

  return {
    identity: identity.identity,
    async charge(change) {
      const connection = await dial();
      const fields = signer.sign({
        method: "POST",
        authority: target.service,
        path: PATH,
        contentType: CONTENT_TYPE,
        dst: peer,
        dstMessageCertificateKey: null,
        channelBinding: connection.channelBinding,
        body: SIGNED_BODY,
        includeCertificate: true,
      });
      return send(connection, target.service, change, fields);
    },
    async close() {
      dialer.close();
      await identity.close();
      await rm(stateDir, { recursive: true, force: true });
    },
  };
}

function send(connection: MeshConnection, authority: string, change: Change, fields: readonly string[]): Promise<TamperedAnswer> {
  return new Promise((resolve, reject) => {
    const session = connect(`http://${authority}`, { createConnection: () => connection.socket });
    session.once("error", reject);
    session.setTimeout(TIMEOUT_MS, () => session.destroy(new Error("no answer in time")));
    const headers: Record<string, string> = {
      ":method": "POST",
      ":authority": authority,
      ":path": change === "path" ? "/demo.Payments/Refund" : PATH,
      "content-type": CONTENT_TYPE,
      te: "trailers",
    };
    if (change !== "signature removed")
      for (let at = 0; at < fields.length; at += 2) headers[fields[at] as string] = fields[at + 1] as string;
    const stream = session.request(headers);
    let grpcStatus = Number.NaN;
    let reason = "";
    const read = (received: Readonly<Record<string, unknown>>) => {
      if (received["grpc-status"] !== undefined) grpcStatus = Number(received["grpc-status"]);
      if (received["x-remora-reason"] !== undefined) reason = String(received["x-remora-reason"]);
    };
    stream.on("response", read);
    stream.on("trailers", read);
    stream.once("error", reject);
    stream.once("close", () => {
      session.close();
      resolve({ grpcStatus, reason });
    });
    stream.resume();
    stream.end(change === "body" ? CHEAPER_BODY : SIGNED_BODY);
  });
}

function grpcMessage(message: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

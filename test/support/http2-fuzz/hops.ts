// Both ports at which a sidecar takes HTTP/2, as tests reach them: as the local app, and as a meshed peer over mTLS.
import type { Test } from "tap";
import { Http2Mesh, type StreamHandler } from "../http2-fixture.ts";
import { connectMesh } from "../mesh-client.ts";
import type { MeshPair, MeshPairOptions } from "../mesh-pair.ts";
import { FramePeer } from "./frame-peer.ts";
import { CLIENT_PREFACE } from "./frame-text.ts";

/** The two. */
export const HOPS = ["outbound", "inbound"] as const;
export type Hop = (typeof HOPS)[number];

/** A pair of splice engines whose ports are spoken to frame by frame. */
export class FrameMesh {
  readonly mesh: Http2Mesh;
  readonly #t: Test;
  #pair: MeshPair | null = null;
  readonly #peers: FramePeer[] = [];
  #appPort = 0;

  constructor(t: Test) {
    this.#t = t;
    this.mesh = new Http2Mesh(t, "splice");
  }

  /** A pair in front of an app by node:http2. */
  async start(handler: StreamHandler, options: Partial<MeshPairOptions> = {}): Promise<MeshPair> {
    const { pair, appPort } = await this.mesh.inFrontOf(handler, options);
    this.#pair = pair;
    this.#appPort = appPort;
    return pair;
  }

  /** A pair in front of an app that speaks frame by frame. */
  async startRaw(onPeer: (peer: FramePeer, index: number) => void, options: Partial<MeshPairOptions> = {}): Promise<MeshPair> {
    this.#appPort = await this.mesh.rawApp((socket, index) => onPeer(new FramePeer(socket, true), index));
    this.#pair = await this.mesh.pairFor(this.#appPort, { protocol: "http2", ...options });
    return this.#pair;
  }

  /** A connection to one of the ports; the preface is sent. */
  async connect(hop: Hop, preface: Buffer = CLIENT_PREFACE): Promise<FramePeer> {
    const pair = this.#pair as MeshPair; // set by `start`
    const socket =
      hop === "outbound" ? this.mesh.connectMute(pair.outboundPort) : await connectMesh(this.#t, pair, this.#appPort, "remora/h2");
    const peer = new FramePeer(socket);
    this.#peers.push(peer);
    peer.send(preface);
    return peer;
  }

  /** Ends the clients, and asserts that nothing is left of them. */
  leavesNothing(): Promise<void> {
    for (const { stream } of this.#peers) stream.destroy();
    return this.mesh.leavesNothing();
  }

  /** Sum of the series of a metric whose labels match. */
  async metric(hop: Hop, pattern: string): Promise<number> {
    const pair = this.#pair as MeshPair; // set by `start`
    const metrics = hop === "outbound" ? pair.callerMetrics : pair.calleeMetrics;
    let sum = 0;
    for (const [, value] of (await metrics.registry.metrics()).matchAll(new RegExp(`^${pattern} (\\d+)$`, "gm"))) sum += Number(value);
    return sum;
  }
}

// The ways to a hop of a real mesh pair, for the strictness tests: the port that the local app speaks to, and the port that peers speak to, with and
// without mTLS. Keeps the names of the rules that the sidecars logged.
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import { createLogger } from "../../../core/log.ts";
import { connectMesh } from "../../support/mesh-client.ts";
import { type MeshPair, startMeshPair } from "../../support/mesh-pair.ts";

type Tap = { teardown(run: () => unknown): void };

/** A way to a hop. */
export interface Hop {
  readonly name: string;
  open(): Promise<Duplex>;
}

/** A running pair in front of an app. */
export interface Hops {
  readonly pair: MeshPair;
  /** Called by the local app: the outbound side. */
  readonly outbound: Hop;
  /** Called by a client outside of the mesh: the inbound side, permissive. */
  readonly plaintext: Hop;
  /** Called by a peer with a certificate: the inbound side. */
  readonly mesh: Hop;
  /** The rules that were named in the logs of both sidecars since the last call. */
  takeRules(): Set<string>;
}

/** Starts a pair in front of the app at `appPort`. */
export async function startHops(t: Tap, appPort: number): Promise<Hops> {
  let rules = new Set<string>();
  const log = createLogger({
    component: "sidecar",
    level: "debug",
    stdout: {
      write(line: string) {
        const rule = /rule: ([a-z0-9_]+)/.exec(line)?.[1];
        if (rule !== undefined) rules.add(rule);
      },
    },
  });
  const pair = await startMeshPair({ appPort, mode: "permissive", protocol: "http1", log });
  t.teardown(() => pair.close());
  const tcp = (port: number) => async () => {
    const socket = connect({ port, host: "127.0.0.1" });
    t.teardown(() => socket.destroy());
    return socket;
  };
  return {
    pair,
    outbound: { name: "outbound", open: tcp(pair.outboundPort) },
    plaintext: { name: "inbound in plaintext", open: tcp(pair.inboundPort) },
    mesh: { name: "inbound over mTLS", open: () => connectMesh(t, pair, appPort) },
    takeRules() {
      const taken = rules;
      rules = new Set();
      return taken;
    },
  };
}

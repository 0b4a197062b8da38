// Proves that a connection really is redirected: dials an address that nobody has (documentation ranges, RFC 5737 and RFC 3849) as the current user
// and sees who answers. Owns the experiment; the verdict's wording for people is `remora init --check`.
import { BlockList, connect, createServer, type Server } from "node:net";
import { createOriginalDstReader, type OriginalDst } from "./original-dst.ts";
import type { CaptureSettings, Family } from "./rules.ts";

/** How one family fared. */
export type CheckResult =
  /** The connection came out at our own listener, which read its original destination. */
  | { readonly kind: "redirected"; readonly dialled: string; readonly original: string }
  /** The outbound port is taken (a sidecar runs); it accepted a connection to an address that does not exist. */
  | { readonly kind: "accepted"; readonly dialled: string }
  /** The pod has no route for this family, so nothing can leave by it. */
  | { readonly kind: "no_route" }
  /** Every address that could be dialled is in a skip list. */
  | { readonly kind: "skipped" }
  | { readonly kind: "failed"; readonly dialled: string; readonly why: string };

const TEST_ADDRESSES: Readonly<Record<Family, readonly string[]>> = {
  ipv4: ["198.51.100.1", "203.0.113.1", "192.0.2.1"],
  ipv6: ["2001:db8::1", "2001:db8:ffff::1"],
};
const TEST_PORTS = [80, 8080, 443, 18080];
const CONNECT_TIMEOUT_MS = 2_000;

/** Dials once per family. Opens a listener on the outbound port where nothing listens, and closes it again. */
export async function checkRedirect(family: Family, settings: CaptureSettings): Promise<CheckResult> {
  const address = TEST_ADDRESSES[family].find((candidate) => !isSkipped(family, candidate, settings));
  const port = TEST_PORTS.find((candidate) => !settings.skipOutboundPorts.includes(candidate));
  if (address === undefined || port === undefined) return { kind: "skipped" };
  const dialled = family === "ipv4" ? `${address}:${port}` : `[${address}]:${port}`;

  const seen: (OriginalDst | null)[] = [];
  const listener = await listenOnOutbound(settings.outboundPort, seen);
  try {
    const outcome = await dial(address, port);
    if (outcome === "ENETUNREACH" || outcome === "EADDRNOTAVAIL") return { kind: "no_route" };
    if (outcome !== "connected") return { kind: "failed", dialled, why: outcome };
    if (listener === null) return { kind: "accepted", dialled };
    return judge(seen[0], address, port, dialled);
  } finally {
    listener?.close();
  }
}

function judge(original: OriginalDst | null | undefined, address: string, port: number, dialled: string): CheckResult {
  if (original === undefined) return { kind: "failed", dialled, why: "somebody else answered" };
  if (original === null) return { kind: "failed", dialled, why: "redirected, but the original destination is not to be read" };
  if (original.address !== address || original.port !== port) {
    return { kind: "failed", dialled, why: `the original destination reads ${original.address} port ${original.port}` };
  }
  return { kind: "redirected", dialled, original: dialled };
}

function isSkipped(family: Family, address: string, settings: CaptureSettings): boolean {
  const skipped = new BlockList();
  for (const cidr of settings.skipOutboundCidrs) skipped.addSubnet(cidr.address, cidr.prefixBits, cidr.family);
  return skipped.check(address, family);
}

/** Null when the port is taken. Each accepted connection is read, noted in `seen` and closed with a byte, so that the dialler learns when it was read. */
async function listenOnOutbound(port: number, seen: (OriginalDst | null)[]): Promise<Server | null> {
  const reader = createOriginalDstReader();
  const server = createServer((socket) => {
    seen.push(reader.read(socket));
    socket.on("error", () => {});
    socket.end(".");
  });
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => (error.code === "EADDRINUSE" ? resolve(null) : reject(error)));
    server.listen(port, "::", () => resolve(server));
  });
}

/** "connected", an errno code, or a timeout. After connecting it waits at most 200 ms for the other side to have read the destination. */
function dial(address: string, port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port });
    let isConnected = false;
    const done = (outcome: string) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(outcome);
    };
    let timer = setTimeout(() => done("timeout: no answer, the packet left the pod unredirected"), CONNECT_TIMEOUT_MS);
    socket.once("connect", () => {
      isConnected = true;
      clearTimeout(timer);
      timer = setTimeout(() => done("connected"), 200);
    });
    socket.once("data", () => done("connected"));
    socket.once("end", () => done("connected"));
    socket.on("error", (error: NodeJS.ErrnoException) => done(isConnected ? "connected" : (error.code ?? error.message)));
  });
}

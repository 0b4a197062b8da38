// What really goes over the wire: tcpdump on the test network's bridge, and the little reading of its file that a test needs.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Test } from "tap";

const GLOBAL_HEADER_BYTES = 24;
const PACKET_HEADER_BYTES = 16;

export interface WireCapture {
  /** Stops capturing and gives the TCP payloads, in order. */
  stop(): Promise<readonly Buffer[]>;
}

/** Starts tcpdump; resolves when it captures. `filter` is a pcap filter. */
export async function captureWire(t: Test, bridge: string, filter: string): Promise<WireCapture> {
  const folder = mkdtempSync(join(tmpdir(), "remora-pcap-"));
  const file = join(folder, "wire.pcap");
  const child = spawn("tcpdump", ["-i", bridge, "-U", "-s0", "--immediate-mode", "-Z", "root", "-w", file, filter], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const exited = new Promise<void>((done) => child.once("exit", () => done()));
  t.teardown(() => {
    child.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  });
  await new Promise<void>((done, fail) => {
    let said = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      said += text;
      if (said.includes("listening on")) done();
    });
    child.once("exit", () => fail(new Error(`tcpdump: ${said}`)));
    child.once("error", fail);
  });
  return {
    async stop() {
      await new Promise((done) => setTimeout(done, 100)); // the kernel's last packets
      child.kill("SIGINT");
      await exited;
      return payloads(readFileSync(file));
    },
  };
}

/** TCP payloads of an Ethernet capture file, IPv4 and IPv6; empty segments are left out. */
function payloads(file: Buffer): readonly Buffer[] {
  const found: Buffer[] = [];
  for (let at = GLOBAL_HEADER_BYTES; at + PACKET_HEADER_BYTES <= file.length; ) {
    const length = file.readUInt32LE(at + 8);
    const packet = file.subarray(at + PACKET_HEADER_BYTES, at + PACKET_HEADER_BYTES + length);
    at += PACKET_HEADER_BYTES + length;
    const payload = tcpPayload(packet);
    if (payload.length > 0) found.push(payload);
  }
  return found;
}

function tcpPayload(frame: Buffer): Buffer {
  const isIpv4 = frame.readUInt16BE(12) === 0x0800;
  const ip = frame.subarray(14);
  const headerBytes = isIpv4 ? ((ip[0] ?? 0) & 15) * 4 : 40;
  const end = isIpv4 ? ip.readUInt16BE(2) : 40 + ip.readUInt16BE(4);
  const tcp = ip.subarray(headerBytes, end);
  return tcp.subarray(((tcp[12] ?? 0) >> 4) * 4);
}

/** True when `payload` is a TLS ServerHello that selects TLS 1.3 (RFC 8446 section 4.2.1: supported_versions = 0x0304). */
export function isTls13ServerHello(payload: Buffer): boolean {
  return payload[0] === 22 && payload[5] === 2 && payload.includes(Buffer.from([0, 43, 0, 2, 3, 4]));
}

// Bytes that clients send: requests of every framing, whole or broken, alone or pipelined, each with a random order to the app.
import type { SeededRandom } from "../support/seeded-random.ts";
import { AFTERWARDS, ANSWERS, contentOf, type Order, READS, targetOf } from "./messages.ts";

const BROKEN = [
  "GET / HTTP/1.1\r\nHost: orders\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
  "GET / HTTP/1.1\nHost: orders\n\n",
  "GET  / HTTP/1.1\r\nHost: orders\r\n\r\n",
  "POST / HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
  "\x16\x03\x01\x02\x00half a ClientHello",
];

/** What a client sends on one connection, in order; it may wait for an answer between two of them. */
export function randomRequests(random: SeededRandom, host: string): Buffer[] {
  if (random.below(25) === 0) return [Buffer.from(random.pick(BROKEN), "latin1")];
  return Array.from({ length: 1 + random.below(8) }, () => randomRequest(random, host));
}

function randomRequest(random: SeededRandom, host: string): Buffer {
  const target = targetOf(randomOrder(random));
  const kind = random.below(10);
  if (kind < 4) return head("GET", target, host, []);
  if (kind === 4) return head("HEAD", target, host, []);
  if (kind === 5) return head("GET", target, host, random.below(2) === 0 ? ["Connection: keep-alive"] : [], "HTTP/1.0");
  if (kind === 6) return head("GET", `http://${host}${target}`, host, random.below(2) === 0 ? ["Connection: close"] : []);
  const content = contentOf(kind, randomSize(random));
  const expect = random.below(4) === 0 ? ["Expect: 100-continue"] : [];
  if (kind < 9) return Buffer.concat([head("POST", target, host, [`Content-Length: ${content.length}`, ...expect]), content]);
  return Buffer.concat([head("POST", target, host, ["Transfer-Encoding: chunked", ...expect]), chunked(random, content)]);
}

function head(method: string, target: string, host: string, fields: readonly string[], version = "HTTP/1.1"): Buffer {
  return Buffer.from(`${[`${method} ${target} ${version}`, `Host: ${host}`, ...fields].join("\r\n")}\r\n\r\n`, "latin1");
}

function chunked(random: SeededRandom, content: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < content.length; ) {
    const size = Math.min(content.length - at, 1 + random.below(20_000));
    const extension = random.below(3) === 0 ? ";note=soak" : "";
    parts.push(Buffer.from(`${size.toString(16)}${extension}\r\n`), content.subarray(at, at + size), Buffer.from("\r\n"));
    at += size;
  }
  parts.push(Buffer.from(random.below(2) === 0 ? "0\r\n\r\n" : "0\r\nX-Sum: 1\r\n\r\n"));
  return Buffer.concat(parts);
}

/** Mostly good, mostly small: what is odd comes often enough all the same. */
function randomOrder(random: SeededRandom): Order {
  const isGood = random.below(3) > 0;
  const size = randomSize(random);
  return {
    how: isGood ? "length" : random.pick(ANSWERS),
    size,
    paceMs: random.below(8) === 0 ? random.below(40) : 0,
    cutAt: random.below(15) === 0 ? random.below(size + 1) : -1,
    cutBy: random.below(2) === 0 ? "reset" : "end",
    after: random.pick(AFTERWARDS),
    read: isGood ? "all" : random.pick(READS),
    interim: random.below(10) === 0 ? 1 + random.below(3) : 0,
  };
}

/** Up to 2 KiB mostly, sometimes more than any buffer holds. */
function randomSize(random: SeededRandom): number {
  const kind = random.below(40);
  if (kind === 0) return random.below(4 * 1024 * 1024);
  return random.below(kind < 6 ? 200 * 1024 : 2 * 1024);
}

import { SocketAddress } from "node:net";
import t from "tap";
import { isOwnListener } from "../../../sidecar/capture/loop-guard.ts";
import { explicitDestination } from "../../../sidecar/explicit-destination.ts";
import { authorityFlaw, parseAuthority } from "../../../sidecar/transport/address.ts";
import { createSeededRandom } from "../../support/seeded-random.ts";

const LABEL_63 = "a".repeat(63);

t.test("one host has one form, however it is spelled", async (t) => {
  for (const [authority, host, port, isAddress] of [
    ["orders", "orders", 0, false],
    ["ORDERS.Demo.svc", "orders.demo.svc", 0, false],
    ["orders.", "orders", 0, false],
    ["Orders.demo.svc.cluster.local.:8080", "orders.demo.svc.cluster.local", 8080, false],
    ["orders:80", "orders", 80, false],
    ["orders:00080", "orders", 80, false],
    ["my_app-1:65535", "my_app-1", 65_535, false],
    ["xn--bcher-kva.example", "xn--bcher-kva.example", 0, false],
    ["orders.123", "orders.123", 0, false],
    ["1password.example", "1password.example", 0, false],
    ["10.0.0.1", "10.0.0.1", 0, true],
    ["10.0.0.1.:81", "10.0.0.1", 81, true],
    ["[::1]", "::1", 0, true],
    ["[0:0:0:0:0:0:0:1]:15001", "::1", 15_001, true],
    ["[2001:DB8::0:1]:443", "2001:db8::1", 443, true],
    ["[::ffff:10.0.0.1]:80", "10.0.0.1", 80, true],
    ["[::FFFF:A00:1]", "10.0.0.1", 0, true],
    [`${LABEL_63}.${LABEL_63}.${LABEL_63}.${"b".repeat(61)}`, `${LABEL_63}.${LABEL_63}.${LABEL_63}.${"b".repeat(61)}`, 0, false],
  ] as const) {
    t.strictSame(parseAuthority(authority), { host, port, isAddress }, authority);
    t.equal(authorityFlaw(authority), "");
  }
});

t.test("what names no host is refused, and it is said why", async (t) => {
  for (const [authority, why] of [
    ["", /no host/],
    [".", /no host/],
    [":80", /no host/],
    ["a..b", /empty label/],
    [".a", /empty label/],
    ["a..", /empty label/],
    ["bücher", /xn--/],
    ["b\u00fccher.example:80", /xn--/],
    ["ord%65rs", /escape/],
    ["a b", /character/],
    ["a\tb", /character/],
    ["a/b", /character/],
    ["a,b", /character/],
    ["a\\b", /character/],
    ["*", /character/],
    [`${LABEL_63}a`, /label longer than 63/],
    [`a.${LABEL_63}a.b`, /label longer than 63/],
    [`${"a.".repeat(127)}a`, /longer than 253/],
    ["a:", /without a port/],
    ["a:0", /without a port/],
    ["a:65536", /above 65535/],
    ["a:99999999999999999999", /above 65535/],
    ["a:8o", /not a number/],
    ["a:-1", /not a number/],
    ["a:80:80", /colon/],
    ["::1", /colon/],
    ["fe80::1:80", /colon/],
    ["[::1", /not closed/],
    ["[]", /not an IPv6/],
    ["[orders]", /not an IPv6/],
    ["[10.0.0.1]", /not an IPv6/],
    ["[fe80::1%25eth0]", /not an IPv6/],
    ["[fe80::1%eth0]", /not an IPv6/],
    ["[v1.a]", /not an IPv6/],
    ["[::1]80", /between/],
    ["[::1]a:80", /between/],
    ["127.1", /IPv4/],
    ["2130706433", /IPv4/],
    ["0x7f000001", /IPv4/],
    ["0x7f.0.0.1", /IPv4/],
    ["0177.0.0.1:80", /IPv4/],
    ["256.0.0.1", /IPv4/],
    ["1.2.3.4.5", /IPv4/],
    ["127.0.0.1.0x", /IPv4/],
  ] as const) {
    t.equal(parseAuthority(authority), null, JSON.stringify(authority));
    t.match(authorityFlaw(authority), why);
    t.equal(explicitDestination(authority), null);
  }
});

t.test("a flaw never quotes what may be a password", async (t) => {
  for (const authority of ["me:secret@orders", "secret@", "@secret:1"]) {
    t.equal(parseAuthority(authority), null);
    t.match(authorityFlaw(authority), /userinfo/);
    t.notMatch(authorityFlaw(authority), /secret/);
  }
  t.ok(authorityFlaw("a ".repeat(10_000)).length < 300, "and never all of what is long");
});

t.test("no spelling of a loopback address passes the loop guard", async (t) => {
  const own = { addresses: ["10.0.0.7", "fd00::7"], ports: [15_001] };
  const spellings = [
    "127.0.0.1",
    "127.0.0.1.",
    "127.9.9.9",
    "[::1]",
    "[0::0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "0.0.0.0",
    "[::]",
    "10.0.0.7",
  ];
  for (const spelling of [...spellings, "[FD00:0:0::7]", "[::ffff:a00:7]"]) {
    const destination = explicitDestination(`${spelling}:15001`);
    if (destination?.kind !== "address") t.fail(`${spelling} is no address`);
    else t.equal(isOwnListener(destination, own), true, spelling);
  }
});

t.test("the WHATWG parser sees the same host, or is the stricter one", async (t) => {
  const random = createSeededRandom(3986);
  const parts = [
    "a",
    "B",
    "0",
    "1",
    "255",
    "256",
    "0x7f",
    ".",
    ".",
    "-",
    "_",
    ":",
    "80",
    "[",
    "]",
    "::1",
    "%41",
    "@",
    "é",
    "localhost",
    "10.0.0.1",
  ];
  let agreed = 0;
  for (let round = 0; round < 50_000; round += 1) {
    const authority = Array.from({ length: 1 + random.below(5) }, () => random.pick(parts)).join("");
    const read = parseAuthority(authority);
    if (read === null) {
      if (authorityFlaw(authority) === "") t.fail(`no reason for ${authority}`);
      continue;
    }
    const again = read.host.includes(":") ? `[${read.host}]` : read.host;
    if (parseAuthority(again)?.host !== read.host) t.fail(`${authority} is ${read.host}, which is not its own form`);
    if (!URL.canParse(`http://${authority}/`)) continue;
    const { hostname, port } = new URL(`http://${authority}/`);
    // It writes IPv6 as RFC 5952 does; snapshots have what the C library prints (::0.1.2.85 for ::1:255).
    const isIpv6 = hostname.startsWith("[");
    const second = isIpv6 ? new SocketAddress({ address: hostname.slice(1, -1), family: "ipv6" }).address : hostname.replace(/\.$/, "");
    if (second !== read.host || (port === "" ? read.port !== 0 && read.port !== 80 : Number(port) !== read.port)) {
      t.fail(`${authority} is ${read.host}:${read.port} for us, ${second}:${port} for the WHATWG parser`);
    }
    agreed += 1;
  }
  t.ok(agreed > 5_000, `${agreed} of them were read by both`);
});

t.test("an address goes where it says, any other host is a service", async (t) => {
  t.strictSame(explicitDestination("Orders."), { kind: "service", name: "orders", port: 0 });
  t.strictSame(explicitDestination("orders:80"), { kind: "service", name: "orders", port: 80 }, "a port that is written is looked up");
  t.strictSame(explicitDestination("10.0.0.1"), { kind: "address", address: "10.0.0.1", port: 80 });
  t.strictSame(explicitDestination("[FD00::01]:8080"), { kind: "address", address: "fd00::1", port: 8080 });
});

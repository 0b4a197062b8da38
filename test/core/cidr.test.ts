import t from "tap";
import { readCidr } from "../../core/cidr.ts";
import { readPort } from "../../core/port.ts";

t.test("a network has its family, address and length; an address alone is one host", async (t) => {
  t.strictSame(readCidr("10.0.0.0/8"), { family: "ipv4", address: "10.0.0.0", prefixBits: 8 });
  t.strictSame(readCidr("10.0.0.1"), { family: "ipv4", address: "10.0.0.1", prefixBits: 32 });
  t.strictSame(readCidr("fd00::/8"), { family: "ipv6", address: "fd00::", prefixBits: 8 });
  t.strictSame(readCidr("::1"), { family: "ipv6", address: "::1", prefixBits: 128 });
  t.strictSame(readCidr("0.0.0.0/0"), { family: "ipv4", address: "0.0.0.0", prefixBits: 0 });
});

t.test("what is no network says what is wrong with it", async (t) => {
  for (const text of ["", "/8", "10.0.0.0/8/8", "10.0.0/8", "example.com/8", "fe80::1%eth0/64", " 10.0.0.0/8"])
    t.match(readCidr(text), { problem: /is not a network/ }, text);
  for (const text of ["10.0.0.0/33", "fd00::/129", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8a", "10.0.0.0/0008"])
    t.match(readCidr(text), { problem: /prefix length outside/ }, text);
});

t.test("a port is a number from 1 to 65535, in digits alone", async (t) => {
  t.equal(readPort("1"), 1);
  t.equal(readPort("65535"), 65535);
  for (const text of ["", "0", "65536", "-1", "+1", "1.0", "1e3", "0x10", " 80", "80 ", "٨٠", "100000"])
    t.equal(readPort(text), null, text);
});

import t from "tap";
import { type CaptureSettings, formatRules, formatUndo, parseCidrs, parsePorts, parsePresent } from "../../../sidecar/capture/rules.ts";

const settings: CaptureSettings = {
  outboundPort: 15001,
  inboundPort: 15006,
  adminPort: 15020,
  proxyUid: 1337,
  skipInboundPorts: [9999],
  skipOutboundPorts: [25],
  skipOutboundCidrs: parseCidrs("X", ["10.1.0.0/16", "fd00:1::/32"]),
};

t.test("writes the rules of IPv4 in the order in which they decide", async (t) => {
  t.equal(
    formatRules("ipv4", settings),
    `*nat
:REMORA_OUTPUT - [0:0]
:REMORA_INBOUND - [0:0]
-A REMORA_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A REMORA_OUTPUT -o lo -j RETURN
-A REMORA_OUTPUT -p tcp --dport 53 -j RETURN
-A REMORA_OUTPUT -p tcp --dport 25 -j RETURN
-A REMORA_OUTPUT -d 10.1.0.0/16 -j RETURN
-A REMORA_OUTPUT -p tcp -j REDIRECT --to-ports 15001
-A REMORA_INBOUND -i lo -j RETURN
-A REMORA_INBOUND -p tcp --dport 15020 -j RETURN
-A REMORA_INBOUND -p tcp --dport 9999 -j RETURN
-A REMORA_INBOUND -p tcp -j REDIRECT --to-ports 15006
-I OUTPUT -p tcp -j REMORA_OUTPUT
-I PREROUTING -p tcp -j REMORA_INBOUND
COMMIT
`,
  );
});

t.test("gives each family only its own networks", async (t) => {
  t.match(formatRules("ipv6", settings), "-d fd00:1::/32 -j RETURN");
  t.notMatch(formatRules("ipv6", settings), "10.1.0.0");
});

t.test("replaces what is there, so that each jump stands once", async (t) => {
  const saved = `*nat
:PREROUTING ACCEPT [0:0]
:REMORA_INBOUND - [0:0]
:REMORA_OUTPUT - [0:0]
-A PREROUTING -p tcp -j REMORA_INBOUND
-A OUTPUT -p tcp -j REMORA_OUTPUT
-A OUTPUT -p tcp -j REMORA_OUTPUT
-A OUTPUT -p tcp -j SOMEBODY_ELSE
-A REMORA_OUTPUT -o lo -j RETURN
COMMIT`;
  const present = parsePresent(saved);
  t.same(present.chains, ["REMORA_OUTPUT", "REMORA_INBOUND"]);
  const text = formatRules("ipv4", settings, present);
  t.equal(text.split("-D OUTPUT -p tcp -j REMORA_OUTPUT\n").length, 3, "both old jumps go");
  t.notMatch(text, "SOMEBODY_ELSE");
  t.equal(
    formatUndo(present),
    `*nat
-D PREROUTING -p tcp -j REMORA_INBOUND
-D OUTPUT -p tcp -j REMORA_OUTPUT
-D OUTPUT -p tcp -j REMORA_OUTPUT
-F REMORA_OUTPUT
-F REMORA_INBOUND
-X REMORA_OUTPUT
-X REMORA_INBOUND
COMMIT
`,
  );
  t.equal(formatUndo(parsePresent("*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT")), null);
});

t.test("refuses what is not a port or a network, naming the setting, the value and the bound", async (t) => {
  t.same(parsePorts("P", ["80", " 443", "", "80"]), [80, 443]);
  for (const bad of ["0", "65536", "70000", "-1", "http", "80-90", "8e1", "0x50"]) {
    t.throws(() => parsePorts("REMORA_SKIP_INBOUND_PORTS", [bad]), {
      message: `REMORA_SKIP_INBOUND_PORTS: "${bad}" is not a port (1..65535)`,
    });
  }
  t.same(
    parseCidrs("C", ["10.0.0.1", "::1"]).map((cidr) => cidr.prefixBits),
    [32, 128],
    "a bare address is one host",
  );
  for (const bad of [
    "10.0.0.0/33",
    "fd00::/129",
    "10.0.0/8",
    "host/8",
    "10.0.0.0/8/8",
    "fe80::1%eth0/64",
    "10.0.0.0/",
    "1.2.3.4/-1",
    "10.0.0.0/8 -j ACCEPT",
  ]) {
    t.throws(() => parseCidrs("C", [bad]), { code: "invalid_value", message: /^C: / }, bad);
  }
  t.throws(
    () =>
      parsePorts(
        "P",
        Array.from({ length: 257 }, (_, i) => String(i + 1)),
      ),
    { message: /257 entries, at most 256/ },
  );
});

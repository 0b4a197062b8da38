import t from "tap";
import { type CommandResult, createIptables, type RunCommand } from "../../../sidecar/capture/iptables.ts";
import { readIpv6State } from "../../../sidecar/capture/ipv6-state.ts";
import { installRules, missingRules, removeRules } from "../../../sidecar/capture/program.ts";
import type { CaptureSettings } from "../../../sidecar/capture/rules.ts";

const settings: CaptureSettings = {
  outboundPort: 15001,
  inboundPort: 15006,
  adminPort: 15020,
  proxyUid: 1337,
  skipInboundPorts: [],
  skipOutboundPorts: [],
  skipOutboundCidrs: [],
};
const ok = (stdout = ""): CommandResult => ({ status: 0, stdout, stderr: "", missing: false });
const fails = (stderr: string): CommandResult => ({ status: 4, stdout: "", stderr, missing: false });
const missing: CommandResult = { status: null, stdout: "", stderr: "spawn ENOENT", missing: true };

function iptablesThat(answer: RunCommand, calls: string[] = []) {
  return createIptables("default", (command, args, input) => {
    calls.push([command, ...args].join(" "));
    return answer(command, args, input);
  });
}

t.test("applies each family as one transaction", async (t) => {
  const calls: string[] = [];
  const outcomes = installRules(
    settings,
    iptablesThat(() => ok(), calls),
    "routable",
  );
  t.same(calls, ["iptables-save -t nat", "iptables-restore --noflush -w 10", "ip6tables-save -t nat", "ip6tables-restore --noflush -w 10"]);
  t.same(
    outcomes.map((outcome) => outcome.kind),
    ["installed", "installed"],
  );
});

t.test("leaves IPv6 out, and says so, where the pod has none", async (t) => {
  const calls: string[] = [];
  const [, v6] = installRules(
    settings,
    iptablesThat(() => ok(), calls),
    "off",
  );
  t.match(v6, { kind: "unavailable", warning: /no IPv6/ });
  t.notOk(calls.some((call) => call.startsWith("ip6")));
});

t.test(
  "warns about missing ip6tables while the pod has only local IPv6 addresses, and fails once IPv6 could bypass the mesh",
  async (t) => {
    const without6 = iptablesThat((command) => (command.startsWith("ip6") ? missing : ok()));
    t.match(installRules(settings, without6, "local")[1], { kind: "unavailable", warning: /ip6tables-save is not installed/ });
    t.throws(() => installRules(settings, without6, "routable"), { code: "binary_missing", message: /install the package "iptables"/ });
  },
);

t.test("says what to do about each failure of iptables", async (t) => {
  const cases: ReadonlyArray<readonly [CommandResult, string, RegExp]> = [
    [missing, "binary_missing", /iptables-save is not installed: install the package/],
    [
      fails("iptables-save: Could not fetch rule set generation id: Permission denied (you must be root)"),
      "not_root",
      /needs root and the capability NET_ADMIN/,
    ],
    [fails("iptables/1.8.9 Failed to initialize nft: Protocol not supported"), "backend_unusable", /--backend legacy/],
    [fails("line 3: something new"), "rules_refused", /something new/],
    [{ status: null, stdout: "", stderr: "", missing: false }, "rules_refused", /exit status null/],
  ];
  for (const [result, code, message] of cases)
    t.throws(
      () =>
        installRules(
          settings,
          iptablesThat(() => result),
          "off",
        ),
      { code, message },
    );
});

t.test("runs the flavour of iptables that it is told to", async (t) => {
  const calls: string[] = [];
  createIptables("legacy", (command) => {
    calls.push(command);
    return ok();
  }).present("ipv6");
  t.same(calls, ["ip6tables-legacy-save"]);
});

t.test("removes nothing where nothing is, and names what is missing", async (t) => {
  t.same(
    removeRules(
      iptablesThat(() => ok("*nat\nCOMMIT\n")),
      "off",
    )[0],
    { kind: "nothing_to_remove", family: "ipv4" },
  );
  t.same(
    missingRules(
      "ipv4",
      settings,
      iptablesThat(() => ok("*nat\nCOMMIT\n")),
    ),
    [
      "OUTPUT does not lead to REMORA_OUTPUT",
      "REMORA_OUTPUT does not redirect to port 15001",
      "PREROUTING does not lead to REMORA_INBOUND",
      "REMORA_INBOUND does not redirect to port 15006",
    ],
  );
});

t.test("tells how much IPv6 a pod has", async (t) => {
  const lo = "00000000000000000000000000000001 01 80 10 80       lo\n";
  const link = "fe800000000000008c52a5fffe6c8d3e 02 40 20 80     eth0\n";
  const unique = "fd770000000000000000000000000010 02 40 00 82     eth0\n";
  t.equal(
    readIpv6State(() => lo),
    "local",
  );
  t.equal(
    readIpv6State(() => lo + link),
    "local",
  );
  t.equal(
    readIpv6State(() => lo + link + unique),
    "routable",
  );
  t.equal(
    readIpv6State(() => ""),
    "local",
  );
  t.equal(
    readIpv6State(() => {
      throw new Error("ENOENT");
    }),
    "off",
  );
});

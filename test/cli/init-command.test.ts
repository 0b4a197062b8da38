// `remora init` without touching iptables: what it reads, prints and refuses.
import { Command } from "commander";
import t from "tap";
import { type InitSurroundings, register, runInit } from "../../cli/init-command.ts";
import type { CheckResult } from "../../sidecar/capture/check.ts";
import type { Iptables } from "../../sidecar/capture/iptables.ts";
import { formatRules, NOTHING_PRESENT, parsePresent } from "../../sidecar/capture/rules.ts";

const redirected: CheckResult = { kind: "redirected", dialled: "198.51.100.1:80", original: "198.51.100.1:80" };

/** Surroundings that note what was done; iptables remembers the last text that was applied. */
function surroundings(
  changes: Partial<InitSurroundings> = {},
): InitSurroundings & { readonly lines: string[]; readonly applied: string[] } {
  const lines: string[] = [];
  const applied: string[] = [];
  const iptables: Iptables = {
    present: () => parsePresent((applied.at(-1) ?? "").replace(/-I (\w+)/g, "-A $1")),
    apply: (_family, text) => applied.push(text),
  };
  return {
    env: {},
    platform: "linux",
    uid: 0,
    iptables: () => iptables,
    ipv6: () => "routable",
    check: async () => redirected,
    print: (line) => lines.push(line),
    ...changes,
    lines,
    applied,
  };
}

t.test("takes settings from the environment, and flags win", async (t) => {
  const used = surroundings({ env: { REMORA_OUTBOUND_PORT: "16001", REMORA_SKIP_OUTBOUND_PORTS: "25, 587", REMORA_INSTANCE_ID: "x" } });
  const program = new Command().exitOverride();
  register(program, used);
  await program.parseAsync(["init", "--dry-run", "--outbound-port", "17001", "--skip-inbound-ports", "9090"], { from: "user" });
  const text = used.lines.join("\n");
  t.match(text, "-j REDIRECT --to-ports 17001");
  t.match(text, "--dport 587 -j RETURN");
  t.match(text, "-A REMORA_INBOUND -p tcp --dport 9090 -j RETURN");
  t.same(used.applied, [], "a dry run changes nothing");
});

t.test("prints exactly what it applies", async (t) => {
  const used = surroundings();
  await runInit({}, used);
  t.equal(used.applied.length, 2);
  for (const line of (used.applied[0] ?? "").trim().split("\n")) t.ok(used.lines.includes(`  ${line}`), line);
});

t.test("checks the rules as well as a connection, and fails on either", async (t) => {
  const good = surroundings();
  await runInit({}, good);
  await runInit({ check: true }, good);
  t.match(good.lines.join("\n"), "is redirected and its original destination reads 198.51.100.1:80");

  await t.rejects(runInit({ check: true }, surroundings()), {
    code: "not_redirected",
    message: /PREROUTING does not lead to REMORA_INBOUND/,
  });
  const failed: CheckResult = { kind: "failed", dialled: "198.51.100.1:80", why: "timeout" };
  await t.rejects(runInit({ check: true }, surroundings({ check: async () => failed, uid: 1000 })), {
    code: "not_redirected",
    message: /not redirected: timeout/,
  });
  const unverified: CheckResult = { kind: "skipped" };
  await t.rejects(runInit({ check: true }, surroundings({ check: async () => unverified, uid: 1000 })), { message: /cannot be verified/ });
  const noRoute: CheckResult = { kind: "no_route" };
  await runInit({ check: true }, surroundings({ check: async () => noRoute }));
});

t.test("refuses settings with which capture cannot work", async (t) => {
  const refusals: ReadonlyArray<readonly [Record<string, string | boolean>, Record<string, string>, RegExp]> = [
    [{}, { REMORA_SKIP_INBOUND_PORTS: "80,70000" }, /REMORA_SKIP_INBOUND_PORTS: "70000" is not a port \(1\.\.65535\)/],
    [{}, { REMORA_SKIP_OUTBOUND_CIDRS: "10.0.0.0/40" }, /REMORA_SKIP_OUTBOUND_CIDRS: "10\.0\.0\.0\/40"/],
    [{}, { REMORA_SKIP_OUTBOUND_CIDR: "10.0.0.0/8" }, /did you mean REMORA_SKIP_OUTBOUND_CIDRS\?/],
    [{}, { REMORA_IPTABLES_BACKEND: "nftables" }, /default, nft, legacy/],
    [{ proxyUid: "0" }, {}, /0 is root/],
    [{ inboundPort: "15001" }, {}, /must differ/],
    [{ adminPort: "0" }, {}, /must be fixed ports/],
    [{ check: true, undo: true }, {}, /only one of/],
  ];
  for (const [flags, env, message] of refusals) {
    const used = surroundings({ env });
    await t.rejects(runInit(flags, used), { name: "ConfigError", message });
    t.same(used.applied, []);
  }
});

t.test("refuses to run where it cannot work", async (t) => {
  await t.rejects(runInit({}, surroundings({ platform: "darwin" })), { code: "not_linux" });
  await t.rejects(runInit({}, surroundings({ uid: 1000 })), { code: "not_root" });
  await t.rejects(runInit({}, surroundings({ uid: 1337 })), { code: "sidecar_uid" });
  await t.rejects(runInit({ check: true }, surroundings({ uid: 1337 })), { code: "sidecar_uid" });
  await runInit({ dryRun: true }, surroundings({ uid: 1337, platform: "darwin" }));
});

t.test("undoes what it did, and says when there was nothing", async (t) => {
  const used = surroundings({ ipv6: () => "off" });
  await runInit({}, used);
  await runInit({ undo: true }, used);
  t.match(used.applied.at(-1), "-X REMORA_OUTPUT");
  t.ok(used.lines.includes("ipv4: rules removed"));
  t.match(used.lines.join("\n"), "ipv6: warning: the kernel has no IPv6");
  t.equal(
    formatRules(
      "ipv4",
      { outboundPort: 1, inboundPort: 2, adminPort: 3, proxyUid: 4, skipInboundPorts: [], skipOutboundPorts: [], skipOutboundCidrs: [] },
      NOTHING_PRESENT,
    ).includes("-D "),
    false,
  );
});

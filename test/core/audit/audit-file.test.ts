import { execFileSync, spawnSync } from "node:child_process";
import { appendFile, copyFile, mkdir, readdir, readFile, rename, stat, truncate, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { type AuditFile, type AuditFileOptions, openAuditFile } from "../../../core/audit/audit-file.ts";
import { verifyTrail } from "../../../core/audit/audit-chain.ts";
import { completeFiles } from "../../../core/audit/audit-files.ts";
import { systemClock } from "../../../core/clock.ts";
import { silentLogger } from "../../../core/log.ts";
import { createFakeClock } from "../../support/fake-clock.ts";
import { requires } from "../../support/requires.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";
import { createTestMetrics } from "../../support/throwaway-control.ts";

async function open(path: string, options: Partial<AuditFileOptions> = {}): Promise<AuditFile> {
  return openAuditFile({
    path,
    maxBytes: 1024 * 1024,
    keep: 100,
    clock: systemClock,
    about: { pid: 1 },
    log: silentLogger(),
    metrics: createTestMetrics(),
    ...options,
  });
}

const issue = (audit: AuditFile, number: number) =>
  audit.record("certificate.issued", { serial: String(number), identity: "spiffe://cluster.local/ns/shop/sa/orders" });

/** A closed trail of `count` certificates. */
async function trail(t: Test, count: number, options: Partial<AuditFileOptions> = {}): Promise<string> {
  const path = join(temporaryFolder(t), "audit.log");
  const audit = await open(path, options);
  for (let number = 1; number <= count; number += 1) issue(audit, number);
  await audit.close();
  return path;
}

const linesOf = async (path: string) => (await readFile(path, "utf8")).split("\n").slice(0, -1);
const write = (path: string, lines: readonly string[]) => writeFile(path, lines.map((line) => `${line}\n`).join(""));
const allOf = async (path: string) => [...(await completeFiles(path)), path];

async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (const deadline = Date.now() + 20_000; !(await holds()); await new Promise((resolve) => setTimeout(resolve, 10)))
    if (Date.now() > deadline) throw new Error(`not within 20 s: ${what}`);
}

t.test("every event becomes a record of one chain, over restarts", async (t) => {
  const path = await trail(t, 3);
  t.equal((await stat(path)).mode & 0o777, 0o600);
  const again = await open(path);
  issue(again, 4);
  await again.close();
  const records = (await linesOf(path)).map((line) => JSON.parse(line) as Record<string, unknown>);
  t.match(records, [
    { seq: 1, event: "audit.opened", prev: "0".repeat(64) },
    { seq: 2, event: "certificate.issued", serial: "1", time: /^\d{4}-\d\d-\d\dT.*Z$/ },
    { seq: 3, serial: "2" },
    { seq: 4, serial: "3" },
    { seq: 5, event: "audit.opened", prev: records[3]?.["hash"] },
    { seq: 6, serial: "4" },
  ]);
  t.strictSame(again.head, { seq: 6, hash: records[5]?.["hash"] });
  t.match(await verifyTrail([path]), { records: 6, problems: [], remarks: [], last: { seq: 6 } });
});

t.test("what is changed, removed, moved or put in shows, with its line", async (t) => {
  const path = await trail(t, 6);
  const lines = await linesOf(path);
  const broken = async (changed: readonly (string | undefined)[]) => {
    await write(path, changed as readonly string[]);
    return (await verifyTrail([path])).problems.join("\n");
  };
  const without = (index: number) => lines.filter((_, other) => other !== index);
  t.equal(await broken(lines), "");
  for (let index = 0; index < lines.length; index += 1) {
    const changed = [...lines];
    changed[index] = (lines[index] as string).replace(/"pid":1|"serial":"\d"/, '"serial":"9"');
    t.match(
      await broken(changed),
      index === lines.length - 1 ? "" : new RegExp(`audit\\.log:${index + 1}: no record, or one that was changed`),
    );
    if (index > 0 && index < lines.length - 1)
      t.match(await broken(without(index)), new RegExp(`records ${index + 1} to ${index + 1} are missing`));
  }
  t.match(await broken([lines[0], lines[2], lines[1], ...lines.slice(3)]), /audit\.log:3: record 2 stands behind record 3: out of order/);
  t.match(await broken([...lines.slice(0, 3), lines[2], ...lines.slice(3)]), /record 3 stands behind record 3/);
  // The last line has nothing behind it that would notice: for that there are heads that were noted elsewhere.
  const { seq, hash } = JSON.parse(lines.at(-1) as string) as { readonly seq: number; readonly hash: string };
  await write(path, lines.slice(0, -2));
  t.strictSame((await verifyTrail([path])).problems, []);
  t.match((await verifyTrail([path], [{ seq, hash }])).problems, [/record 7 was seen and is missing: the trail ends with 5/]);
});

t.test("a trail written anew from some record on is found by a head that was seen", async (t) => {
  const [first, second] = [await trail(t, 5), await trail(t, 5)];
  const seen = JSON.parse((await linesOf(first)).at(-1) as string) as { readonly seq: number; readonly hash: string };
  t.strictSame((await verifyTrail([second])).problems, []);
  t.match((await verifyTrail([second], [seen])).problems, [/another hash than was seen/]);
});

t.test("files rotate, the chain goes on through them, and the oldest go", async (t) => {
  const path = await trail(t, 0);
  const audit = await open(path, { maxBytes: 2000, keep: 5 });
  for (let number = 1; number <= 100; number += 1) {
    issue(audit, number);
    if (number % 3 === 0) await until(() => audit.health().message?.startsWith(`record ${number + 1},`) ?? false, "written");
  }
  await audit.close();
  const files = await allOf(path);
  t.equal(files.length, 6);
  const report = await verifyTrail(files);
  t.match(report, { problems: [], remarks: [/begins with record \d+; what came before is not in these files/], last: { seq: 101 } });
  t.match(await verifyTrail([...files].reverse()), { problems: [] }, "in whatever order they are named");
  await unlink(files[2] as string);
  t.match((await verifyTrail(await allOf(path))).problems, [/records \d+ to \d+ are missing/], "a file that is gone");
});

t.test("a torn last line is recognised, the chain goes on, and only those bytes are excused", async (t) => {
  const path = await trail(t, 3);
  const lines = await linesOf(path);
  const [last = ""] = lines.slice(-1);
  await truncate(path, (await stat(path)).size - 40);
  const audit = await open(path);
  issue(audit, 9);
  await audit.close();
  const after = await linesOf(path);
  t.equal(after.length, 6);
  t.match(JSON.parse(after[4] as string), { seq: 4, event: "audit.opened", tornBytes: last.length - 39 });
  t.match(await verifyTrail([path]), {
    problems: [],
    remarks: [/audit\.log:4: a line torn by a crash, as record 4 says/],
    last: { seq: 5 },
  });
  await write(path, [...after.slice(0, 3), last.slice(0, 50), ...after.slice(4)]);
  t.match((await verifyTrail([path])).problems, [/audit\.log:4: no record/], "other bytes in its place are no torn line");
});

t.test("a process killed in the middle of its work leaves a whole trail", async (t) => {
  const path = join(temporaryFolder(t), "audit.log");
  const program = `
    import { openAuditFile } from ${JSON.stringify(new URL("../../../core/audit/audit-file.ts", import.meta.url).href)};
    import { systemClock } from ${JSON.stringify(new URL("../../../core/clock.ts", import.meta.url).href)};
    import { silentLogger } from ${JSON.stringify(new URL("../../../core/log.ts", import.meta.url).href)};
    import { createMetrics } from ${JSON.stringify(new URL("../../../core/metrics.ts", import.meta.url).href)};
    const audit = await openAuditFile({ path: ${JSON.stringify(path)}, maxBytes: 100000, keep: 50, clock: systemClock, about: {},
      log: silentLogger(), metrics: createMetrics({ component: "t", version: "0", commit: "0" }) });
    for (let n = 0; ; n += 1) { audit.record("instance.registered", { instance: "i" + n }); if (n % 50 === 0) await new Promise(setImmediate); if (n === 4000) process.kill(process.pid, "SIGKILL"); }`;
  for (let run = 0; run < 2; run += 1) {
    const { signal } = spawnSync(process.execPath, ["--input-type=module", "-e", program], { timeout: 60_000 });
    t.equal(signal, "SIGKILL");
  }
  const audit = await open(path);
  issue(audit, 1);
  await audit.close();
  const report = await verifyTrail(await allOf(path));
  t.strictSame(report.problems, []);
  t.ok(report.records > 100, `${report.records} records`);
});

t.test(
  "a disk without space: nobody waits, health says so, and the loss is a record when there is space",
  { skip: requires("root", "mount") },
  async (t) => {
    const folder = temporaryFolder(t);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=128k", "tmpfs", folder]);
    t.teardown(() => execFileSync("umount", ["-l", folder]));
    const metrics = createTestMetrics();
    const path = join(folder, "audit.log");
    const audit = await open(path, { metrics, maxWaitingBytes: 20_000 });
    await writeFile(join(folder, "filler"), Buffer.alloc(100 * 1024)).catch(() => {});
    for (let number = 0; number < 2000; number += 1) {
      issue(audit, number);
      if (number % 100 === 0) await new Promise(setImmediate);
    }
    await until(() => audit.health().status === "degraded", "degraded");
    t.match(audit.health(), { message: /ENOSPC; \d+ events wait/, since: Number });
    for (let number = 0; number < 1000; number += 1) issue(audit, number);
    const text = await metrics.registry.metrics();
    t.ok(Number(/remora_audit_lost_total (\d+)/.exec(text)?.[1]) > 1000, "what does not fit is lost, and counted");
    t.ok(Number(/remora_audit_write_failures_total (\d+)/.exec(text)?.[1]) > 0);

    await unlink(join(folder, "filler"));
    await until(() => audit.health().status === "ok", "well again");
    issue(audit, 7);
    await audit.close();
    const records = (await linesOf(path)).map((line) => JSON.parse(line) as Record<string, unknown>);
    const gaps = records.filter(({ event }) => event === "audit.gap").map(({ lost }) => Number(lost));
    const written = records.filter(({ event }) => event === "certificate.issued").length;
    t.equal(written + gaps.reduce((sum, lost) => sum + lost, 0), 3001, "each event is written or counted in a gap");
    t.match(await verifyTrail([path]), { problems: [], remarks: [/could not be written/] });
  },
);

t.test("a file that somebody else moved, cut or wrote to is told in the trail", async (t) => {
  const path = join(temporaryFolder(t), "audit.log");
  const audit = await open(path);
  const written = (seq: number) => until(() => audit.head.seq >= seq, `record ${seq}`);
  issue(audit, 1);
  await written(2);
  await copyFile(path, `${path}.copy`);
  await rename(path, `${path}.moved`);
  issue(audit, 2);
  await written(4);
  t.match(await verifyTrail([`${path}.moved`, path]), { problems: [], records: 4 }, "moved: the chain goes on in a new file");
  await appendFile(path, '{"seq":5,"forged":true}\n');
  issue(audit, 3);
  await written(6);
  t.match((await verifyTrail([path])).problems, [/audit\.log:3: no record/, /audit\.log:4: somebody else had changed the file/]);
  await truncate(path, 100);
  issue(audit, 4);
  await audit.close();
  t.match((await verifyTrail([path])).problems.join(), /somebody else had changed the file/);
});

t.test("hostile texts stay in their line and cannot pose as fields of the record", async (t) => {
  const path = join(temporaryFolder(t), "audit.log");
  const audit = await open(path);
  const hostile = ['x","hash":"0000"}\n{"seq":1}', "a\u2028b\rc\u0000", "\ud800", "y".repeat(100_000), "__proto__"];
  for (const detail of hostile)
    audit.record("certificate.refused", { reason: detail, detail, seq: 99, prev: "zero", hash: "none", event: "x" });
  audit.record("instance.registered", { services: Array.from({ length: 10_000 }, () => "\u0001".repeat(500)) });
  await audit.close();
  const report = await verifyTrail([path]);
  t.match(report, { problems: [], records: 7, last: { seq: 7 } });
  for (const line of await linesOf(path)) t.ok(line.length < 16 * 1024);
  t.match(JSON.parse((await linesOf(path))[1] as string), { event: "certificate.refused", detail: hostile[0] });
});

t.test("a flood of refusals fills no file: beyond a rate they are counted, and others' are still written", async (t) => {
  const path = join(temporaryFolder(t), "audit.log");
  const clock = createFakeClock();
  const audit = await open(path, { clock });
  for (let number = 0; number < 5000; number += 1)
    audit.record("call.refused", { reason: "unauthenticated", peer: `10.0.0.1:${number}`, identity: null });
  audit.record("call.refused", { reason: "unauthenticated", peer: "10.0.0.2:1", identity: null });
  clock.advance(60_000);
  await audit.close();
  const records = (await linesOf(path)).map((line) => JSON.parse(line) as Record<string, unknown>);
  t.equal(records.filter(({ peer }) => String(peer).startsWith("10.0.0.1:")).length, 20);
  t.equal(records.filter(({ peer }) => peer === "10.0.0.2:1").length, 1);
  t.match(
    records.filter(({ event }) => event === "audit.refusals_suppressed"),
    [{ of: "call.refused", reason: "unauthenticated", count: 4980 }],
  );
});

t.test("bytes that are no trail are put aside, and named", async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, "audit.log");
  await writeFile(path, Buffer.alloc(300_000, 0xff));
  const audit = await open(path);
  issue(audit, 1);
  await audit.close();
  t.match(await verifyTrail([path]), { problems: [], records: 2, remarks: [/put aside as .*audit\.log\.unreadable-\d+/] });
  t.ok((await readdir(folder)).some((name) => name.startsWith("audit.log.unreadable-")));
  await mkdir(join(folder, "a-folder"));
  await t.rejects(open(join(folder, "a-folder")), "a path that cannot be a file is refused at the start");
});

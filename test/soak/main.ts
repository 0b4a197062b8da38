// The soak: `npm run soak -- [--minutes N] [--seed N] [--engine splice|compat] [--connections N]`. Both data planes, alone in a process, between clients and
// an app that are slow, broken and gone at random; prints what that process holds, then lets all peers leave and says what is left. Ends with 1 when
// anything is, or when well-behaved traffic beside it failed.
import { parseArgs } from "node:util";
import { setTimeout as sleep } from "node:timers/promises";
import { createSeededRandom } from "../support/seeded-random.ts";
import { startClients } from "./clients.ts";
import { startControl } from "./control.ts";
import { viewProcess, waitedForCpuMs } from "./process-view.ts";
import { startApp, startMesh } from "./programs.ts";
import { lineOf, type Sample, sampleOf } from "./sample.ts";
import { flawsOf, leftoversOf, summaryOf } from "./verdict.ts";

const MAX_SAMPLE_MS = 10_000;
/** Samples of a short run. */
const MIN_SAMPLES = 4;
const POLL_MS = 250;
/** For the exchanges of clients that have left. */
const GRACE_MS = 4_000;
/** How long idle timeouts may take when all peers have left, at the most; `compat` keeps its connections for longer. */
const SETTLE_MS = { splice: 12_000, compat: 90_000 };

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "10" },
    seed: { type: "string", default: "1" },
    engine: { type: "string", default: "splice" },
    connections: { type: "string", default: "32" },
  },
});
const minutes = numberOf("minutes", values.minutes, 0.05, 10_000);
const seed = numberOf("seed", values.seed, 0, 2 ** 32 - 1);
const connections = numberOf("connections", values.connections, 1, 900);
const { engine } = values;
if (engine !== "splice" && engine !== "compat") throw new RangeError(`--engine must be splice or compat, not ${JSON.stringify(engine)}`);

const app = await startApp(createSeededRandom(seed));
const mesh = await startMesh(engine, app.port);
const startedMonoMs = performance.now();
const take = async (): Promise<Sample> => {
  const look = await mesh.look();
  return sampleOf((performance.now() - startedMonoMs) / 1_000, look, viewProcess(mesh.pid), mesh.ready, app.port);
};
const start = await take();
say(`${engine}, seed ${seed}, ${connections} clients, ${minutes} minutes`);
say(lineOf(start));

const service = `orders:${app.port}`;
const control = await startControl({
  outboundPort: mesh.ready.outboundPort,
  service,
  seed,
  isAppDown: app.wasDown,
  waitedForCpuMs: () => waitedForCpuMs([process.pid, mesh.pid, app.pid]),
});
const clients = startClients({ mesh: mesh.ready, service, count: connections, seed });
const endMonoMs = startedMonoMs + minutes * 60_000;
const periodMs = Math.min(MAX_SAMPLE_MS, (minutes * 60_000) / MIN_SAMPLES);
const loaded: Sample[] = [];
while (performance.now() < endMonoMs) {
  await sleep(Math.min(periodMs, endMonoMs - performance.now()));
  loaded.push(await take());
  say(lineOf(loaded.at(-1) as Sample)); // just put there
}

await Promise.all([clients.leave(), control.leave(), app.calm()]);
const alone = await until(({ look }) => look.begun === look.finished, GRACE_MS);
say(`the clients have left, the app not yet: ${alone.look.begun - alone.look.finished} exchanges in flight`);
say(lineOf(alone));
app.leave();
// A sample has two looks, one after the other: what left between them shows in one of both, and in the next sample no more.
const end = await until((now) => leftoversOf(start, now).length === 0, SETTLE_MS[engine]);
say(`all peers have left; the app crashed ${app.crashes} times`);
say(lineOf(end));
const findings = { start, loaded, alone, end, clients, control };
for (const line of summaryOf(findings)) say(line);
const flaws = flawsOf(findings);
for (const { localPort, remotePort, state } of end.view.connections) say(`still open: ${localPort} -> ${remotePort} ${state}`);
for (const flaw of flaws) say(`FAILED: ${flaw}`);
say(flaws.length === 0 ? "nothing leaked" : `${flaws.length} things are wrong`);
await Promise.all([mesh.stop(), app.stop()]);
process.exit(flaws.length === 0 ? 0 : 1);

/** The first sample of which `holds` is true, or the last one within `waitMs`. */
async function until(holds: (sample: Sample) => boolean, waitMs: number): Promise<Sample> {
  const endMonoMs = performance.now() + waitMs;
  for (;;) {
    const sample = await take();
    if (holds(sample) || performance.now() > endMonoMs) return sample;
    await sleep(POLL_MS);
  }
}

function numberOf(name: string, text: string, least: number, most: number): number {
  const number = Number(text);
  if (text.trim() === "" || !(number >= least && number <= most))
    throw new RangeError(`--${name} must be from ${least} to ${most}, not ${JSON.stringify(text)}`);
  return number;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

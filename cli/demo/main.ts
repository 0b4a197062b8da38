// `npm start`: Remora on one machine, without Kubernetes and without root. Starts a mesh, walks through what it does, and stays up for the reader;
// with --once it ends after the walk, with 0 only when every step held.
import { setTimeout as sleep } from "node:timers/promises";
import { STEPS } from "./steps.ts";
import { createTerminal } from "./terminal.ts";
import { startWorld, type World } from "./world.ts";

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;
const SAME_INTERRUPTION_MS = 500;

const words = process.argv.slice(2);
const isOnce = words.includes("--once");
if (words.some((word) => word !== "--once")) {
  const isHelp = words.includes("--help") || words.includes("-h");
  process.stdout.write("usage: npm start [-- --once]\n  --once   end after the walk; exit 0 only if every step holds\n");
  process.exit(isHelp ? 0 : EXIT_USAGE);
}
const terminal = createTerminal(process.stdout, process.env);
const stopped = Promise.withResolvers<void>();
let interruptions = 0;
let lastInterruptedMonoMs = 0;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    // npm passes on a Ctrl-C that the terminal delivers as well: that is one interruption.
    const isSame = interruptions > 0 && performance.now() - lastInterruptedMonoMs < SAME_INTERRUPTION_MS;
    lastInterruptedMonoMs = performance.now();
    if (isSame) return;
    interruptions += 1;
    if (interruptions > 1) process.exit(EXIT_FAILED); // the exit handler of the world kills what is left
    stopped.resolve();
  });
}
process.exit(await main());

async function main(): Promise<number> {
  const startedMonoMs = performance.now();
  terminal.title("Remora: a service mesh on this machine");
  let world: World | null = null;
  try {
    world = await startWorld((text) => terminal.working(text));
    terminal.line(`  control plane, web, orders (twice) and payments run in ${seconds(startedMonoMs)} s\n`);
    const failed = await walk(world);
    if (interruptions > 0) return EXIT_FAILED;
    terminal.line(`\n  ${STEPS.length - failed} of ${STEPS.length} steps hold (${seconds(startedMonoMs)} s)\n`);
    if (!isOnce) await stayUp(world);
    return failed === 0 ? 0 : EXIT_FAILED;
  } catch (error) {
    terminal.failed("The demo could not start", (error as Error).message);
    return EXIT_FAILED;
  } finally {
    terminal.working("stopping");
    await Promise.race([world?.close(), sleep(15_000)]);
    terminal.line();
  }
}

async function walk(world: World): Promise<number> {
  let failed = 0;
  for (const { title, run } of STEPS) {
    if (interruptions > 0) return failed;
    terminal.working(title);
    try {
      const { seen, tries } = await Promise.race([run(world), stopped.promise.then(() => ({ seen: [], tries: [] }))]);
      if (interruptions === 0) terminal.passed(title, seen, tries);
    } catch (error) {
      failed += 1;
      terminal.failed(title, (error as Error).message);
    }
  }
  if (failed > 0 && interruptions === 0) terminal.line(`\n${await world.logs()}`);
  return failed;
}

async function stayUp(world: World): Promise<void> {
  terminal.line("  The mesh stays up: try the commands above, or put a program of yours into it:");
  terminal.line(`      $ REMORA_STATE_DIR=${world.stateDir} bin/remora run --service mine -- curl -s http://orders/quote`);
  terminal.line("\n  Ctrl-C stops it.");
  await stopped.promise;
}

function seconds(sinceMonoMs: number): string {
  return ((performance.now() - sinceMonoMs) / 1000).toFixed(1);
}

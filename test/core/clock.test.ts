import t from "tap";
import { systemClock } from "../../core/clock.ts";
import { startProcess } from "../support/processes.ts";

t.test("time moves forward and timers fire, repeat, refresh and stop", async (t) => {
  const beforeMs = systemClock.monoMs();
  t.ok(Math.abs(systemClock.nowMs() - Date.now()) < 1000);
  const cancelled = systemClock.after(1, () => t.fail("cancelled timers do not fire"));
  cancelled.cancel();
  cancelled.cancel();
  let ticks = 0;
  const alive = setInterval(() => undefined, 1000);
  await new Promise<void>((resolve) => {
    const timer = systemClock.every(5, () => {
      if (++ticks === 2) {
        timer.cancel();
        resolve();
      }
    });
  });
  await new Promise<void>((resolve) => {
    let fired = 0;
    const timer = systemClock.after(5, () => {
      if (++fired === 2) resolve();
      else timer.refresh();
    });
  });
  clearInterval(alive);
  t.ok(systemClock.monoMs() - beforeMs >= 15);
});

t.test("timers do not keep the process alive", async (t) => {
  const module = new URL("../../core/clock.ts", import.meta.url).href;
  const script = `import { systemClock } from ${JSON.stringify(module)}; systemClock.after(60000, () => {}); systemClock.every(60000, () => {});`;
  t.equal(await startProcess(t, process.execPath, { args: ["--input-type=module-typescript", "-e", script] }).exit(), 0);
});

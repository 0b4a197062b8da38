import t from "tap";
import { createLifecycle } from "../../core/lifecycle.ts";
import { silentLogger } from "../../core/log.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { startProcess } from "../support/processes.ts";

function setUp() {
  const clock = createFakeClock();
  const events: string[] = [];
  const lifecycle = createLifecycle({ log: silentLogger(), clock, drainTimeoutMs: 1000 });
  const part = (name: string) => ({
    close: async () => {
      events.push(`close ${name}`);
    },
  });
  const start = (name: string) =>
    lifecycle.start(name, async () => {
      events.push(`start ${name}`);
      return part(name);
    });
  return { clock, events, lifecycle, part, start };
}

t.test("parts start in order and close in reverse", async (t) => {
  const { events, lifecycle, start } = setUp();
  await start("config");
  await start("identity");
  await lifecycle.start("a step without a part", async () => undefined);
  await start("listeners");
  t.equal(lifecycle.isDraining, false);
  t.equal(await lifecycle.drain("SIGTERM"), true);
  t.same(events, ["start config", "start identity", "start listeners", "close listeners", "close identity", "close config"]);
  t.equal(lifecycle.isDraining, true);
});

t.test("what a start gives is handed on", async (t) => {
  const { lifecycle } = setUp();
  const server = await lifecycle.start("server", () => ({ port: 80, close: async () => undefined }));
  t.equal(server.port, 80);
});

t.test("a failing start closes what was started and throws its error", async (t) => {
  const { events, lifecycle, start } = setUp();
  await start("identity");
  await t.rejects(
    lifecycle.start("listeners", () => Promise.reject(new Error("port in use"))),
    { message: "port in use" },
  );
  t.same(events, ["start identity", "close identity"]);
  await t.rejects(start("more"), { message: /draining/ });
  t.same(events, ["start identity", "close identity"], "nothing starts any more");
});

t.test("a part that never closes is left at the deadline, and the others too", async (t) => {
  const { clock, lifecycle, start, events } = setUp();
  await start("identity");
  await lifecycle.start("stuck", () => ({ close: () => new Promise<void>(() => undefined) }));
  const drained = lifecycle.drain("SIGTERM");
  await clock.advanceAsync(999);
  t.same(events, ["start identity"], "still waiting");
  await clock.advanceAsync(1);
  t.equal(await drained, false);
  t.same(events, ["start identity", "close identity"], "the rest is still asked to close");
  t.equal(clock.armed, 0);
});

t.test("a part whose close fails does not keep the others open", async (t) => {
  const { lifecycle, start, events } = setUp();
  await start("identity");
  await lifecycle.start("broken", () => ({ close: () => Promise.reject(new Error("no")) }));
  await lifecycle.start("thrower", () => ({
    close: () => {
      throw new Error("at once");
    },
  }));
  t.equal(await lifecycle.drain("SIGTERM"), false);
  t.same(events, ["start identity", "close identity"]);
});

t.test("a second drain waits for the first and closes nothing twice", async (t) => {
  const { lifecycle, start, events } = setUp();
  await start("identity");
  t.same(await Promise.all([lifecycle.drain("SIGTERM"), lifecycle.drain("SIGINT")]), [true, true]);
  t.same(events, ["start identity", "close identity"]);
});

t.test("a signal in the middle of a start closes that part too", async (t) => {
  const { lifecycle, part, events } = setUp();
  let finish: () => void = () => undefined;
  const starting = lifecycle.start(
    "slow",
    () =>
      new Promise<ReturnType<typeof part>>((resolve) => {
        finish = () => resolve(part("slow"));
      }),
  );
  t.equal(await lifecycle.drain("SIGTERM"), true);
  finish();
  await t.rejects(starting, { message: /draining/ });
  t.same(events, ["close slow"]);
});

t.test("the process stays until the drain is over, though nothing else keeps it alive", async (t) => {
  const modules = ["clock", "lifecycle", "log"].map((name) => new URL(`../../core/${name}.ts`, import.meta.url).href);
  const [clock, lifecycle, log] = modules.map((href) => JSON.stringify(href));
  const script = `
    import { systemClock } from ${clock};
    import { createLifecycle } from ${lifecycle};
    import { silentLogger } from ${log};
    const parts = createLifecycle({ log: silentLogger(), clock: systemClock, drainTimeoutMs: 5000 });
    await parts.start("slow", () => ({ close: () => new Promise((resolve) => void systemClock.after(200, resolve)) }));
    process.exit((await parts.drain("end")) ? 42 : 1);`;
  t.equal(await startProcess(t, process.execPath, { args: ["--input-type=module-typescript", "-e", script] }).exit(), 42);
});

// A steady caller of the demo's front door, for the steps in which something happens under load.
import { setTimeout as sleep } from "node:timers/promises";
import { httpCall } from "./http-call.ts";
import type { DemoWorkload } from "./world.ts";

/** Calls through both hops, one after the other, until stopped. */
export function startLoad(web: DemoWorkload) {
  const failures: string[] = [];
  let answered = 0;
  let isStopped = false;
  const running = (async () => {
    while (!isStopped) {
      try {
        const { status, body } = await httpCall({ port: web.appPort, path: "/checkout" });
        if (status === 200) answered += 1;
        else failures.push(`${status} ${body.trim().slice(0, 200)}`);
      } catch (error) {
        failures.push((error as Error).message);
      }
      await sleep(5);
    }
  })();
  return {
    failures,
    get answered() {
      return answered;
    },
    stop() {
      isStopped = true;
      return running;
    },
  };
}

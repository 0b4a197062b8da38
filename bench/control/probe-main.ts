// The process of a probe: takes its task, starts its sidecars and says so, counts from "begin" to "end", and ends with whoever started it.
import type { Papers } from "./fleet.ts";
import { createFleet } from "./fleet.ts";
import { PROBE_PER_SERVICE, PROBE_SIDECARS, type ProbeTask } from "./probe.ts";
import { Tally } from "./tally.ts";

const DAY_MS = 86_400_000;
/** Behind those of the fleet. */
const FIRST_ADDRESS = 200_000;
const START_MS = 2_000;
const SETTLE_TIMEOUT_MS = 60_000;

const tally = new Tally(Date.now() + DAY_MS);

async function start({ port, watches, papers }: ProbeTask): Promise<void> {
  const fleet = createFleet({
    papersOf: (service) => papers.get(service) as Papers, // its services are those that papers were made for
    firstAddress: FIRST_ADDRESS,
    tally,
    ports: [port],
    sidecars: PROBE_SIDECARS,
    perService: PROBE_PER_SERVICE,
    perConnection: PROBE_PER_SERVICE,
    watches,
  });
  await fleet.start(START_MS);
  await fleet.untilSettled(SETTLE_TIMEOUT_MS);
  process.send?.("settled");
}

process.on("disconnect", () => process.exit());
process.on("message", (message: ProbeTask | "begin" | "end") => {
  if (message === "begin") tally.reset();
  else if (message === "end") process.send?.(tally.counts());
  else void start(message);
});

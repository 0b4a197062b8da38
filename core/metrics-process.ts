// What every process says about itself, under the names that Prometheus dashboards know. Read at scrape time only; prom-client's own default
// collectors also watch the garbage collector and the event loop all the time, which a sidecar does not pay for.
import type { Registry } from "prom-client";
import Counter from "prom-client/lib/counter.js";
import Gauge from "prom-client/lib/gauge.js";

const startedAtSeconds = Math.round(Date.now() / 1000 - process.uptime());

/** Adds `process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_start_time_seconds` and `nodejs_heap_size_used_bytes`. */
export function addProcessMetrics(registry: Registry): void {
  const registers = [registry];
  new Counter({
    name: "process_cpu_seconds_total",
    help: "User and system CPU time spent, in seconds.",
    registers,
    collect() {
      const { user, system } = process.cpuUsage();
      this.reset();
      this.inc((user + system) / 1e6);
    },
  });
  readAtScrape("process_resident_memory_bytes", "Resident memory, in bytes.", () => process.memoryUsage.rss());
  readAtScrape("process_start_time_seconds", "Start of the process, in seconds since the epoch.", () => startedAtSeconds);
  readAtScrape("nodejs_heap_size_used_bytes", "JavaScript heap in use, in bytes.", () => process.memoryUsage().heapUsed);

  function readAtScrape(name: string, help: string, read: () => number): void {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  }
}

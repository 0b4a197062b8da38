// `npm run bench`: the entry to both kinds of benchmark.
import { runFootprint } from "./load/footprint.ts";
import { runLoad } from "./load/main.ts";
import { runMicro } from "./micro/main.ts";

const USAGE = `usage: npm run bench -- COMMAND
  micro [NAME…]     the hot functions, in ns per call
  http1 [OPTION…]   two hops with mutual TLS in front of nginx: nginx, http-proxy, Remora
      --only LIST         of nginx, http-proxy, remora, remora-log (with access log), remora-source (not bundled);
                          default: all but the last
      --connections N     default 32
      --seconds N         default 8, after 2 s of warming up
      --rounds N          default 1
  footprint [OPTION…]   a sidecar's start to ready and private memory, idle and after load, next to nginx
      --starts N          how often a sidecar is started; default 5
      --idle N            seconds before idle memory is read; default 5
      --seconds N         of load; default 10
      --only LIST         of remora, nginx; default both
      --node-options TEXT NODE_OPTIONS of the sidecars and the control plane
See bench/README.md for how to read the numbers.
`;
const EXIT_USAGE = 2;

const [command = "", ...words] = process.argv.slice(2);
if (command === "micro") process.exitCode = runMicro(words) ? 0 : EXIT_USAGE;
else if (command === "http1") process.exitCode = (await runLoad(words)) ? 0 : 1;
else if (command === "footprint") process.exitCode = (await runFootprint(words)) ? 0 : 1;
else {
  process.stdout.write(USAGE);
  process.exitCode = command === "" || command === "--help" || command === "-h" ? 0 : EXIT_USAGE;
}

// `npm run bench`: the entry to all kinds of benchmark.
import { DEFAULT_RATE, scenarios } from "./load/scenarios.ts";

const USAGE = `usage: npm run bench -- [OPTION…] | COMMAND
  the two-hop path of the mesh under load, next to other proxies doing the same work:
      --scenario LIST     default: all of ${scenarios(DEFAULT_RATE)
        .map(({ name }) => name)
        .join(", ")}
      --proxy LIST        of none, splice, compat, http-proxy, nginx, haproxy, envoy; default: all
      --seconds N         of each measurement, after up to 2 s of warming up; default 5
      --rounds N          how often each is measured, in turns; default 3
      --rate N            requests per second of the constant load; default ${DEFAULT_RATE}
      --json FILE         writes the rows there
      --svg FILE          writes the chart there; default bench/results/last.svg
      --readme            writes the tables of the READMEs and their chart anew
  micro [NAME…]           the hot functions, in ns per call
  footprint [OPTION…]     a sidecar's start to ready and private memory, idle and after load, next to nginx
      --starts N          how often a sidecar is started; default 5
      --idle N            seconds before idle memory is read; default 5
      --seconds N         of load; default 10
      --only LIST         of remora, nginx; default both
      --node-options TEXT NODE_OPTIONS of the sidecars and the control plane
      --modules           instead: what each package costs to load
  idle [OPTION…]        a sidecar's private memory for each mTLS connection that does nothing
      --connections N     default 10000
  handshakes [OPTION…]  CPU of the side that accepts a new mTLS connection, next to nginx
      --count N           connections of each measurement; default 600
  admission [OPTION…]   the injector's webhook on one core, next to a plain server: reviews a second, latency, a pod of 1 MB, memory
      --seconds N         of each measurement; default 10
      --rate N            reviews per second of the constant load; default 200
      --rounds N          how often the constant load is measured, in turns; default 3
      --protocol NAME     h1 (as API servers do) or h2; default h1
      --core N            the core that the injector runs on; default 0
      --node-options TEXT NODE_OPTIONS of the injector
      --gc                counts the pauses of its garbage collector
  control [OPTION…]     the control plane on one core under many simulated sidecars
      --scenario NAME     steady, boot, disconnect, rolling, certify, sweep (steady at 1000 to 20000, with a chart), or capacity (ten minutes); default steady
      --sidecars N        default 1000
      --seconds N         of the measurement; default 20
      --store NAME        memory or redis; default memory
      --replicas N        with redis; default 1
      --per-service N     instances of each service; default 50
      --per-connection N  sidecars that share a connection; default 50
      --watches N         services that each sidecar watches; default 3
      --core N            the core of the first replica; default 0
      --node=FLAGS        flags of Node for the control plane
      --json FILE, --svg FILE
      --readme            with capacity: writes the figures and the chart of bench/README.md anew
  kubernetes-source [OPTION…]  the registry's watch of a large cluster, served by a real kube-apiserver (.ci/kubernetes): time, CPU, memory
      --services N        each with one EndpointSlice; default 10000
      --pods N            each an endpoint; default 50000
See bench/README.md for how to read the numbers.
`;
const EXIT_USAGE = 2;

const [command = "", ...words] = process.argv.slice(2);
// Each kind loads only what it measures.
if (command === "micro") process.exitCode = (await import("./micro/main.ts")).runMicro(words) ? 0 : EXIT_USAGE;
else if (command === "footprint") process.exitCode = (await (await import("./load/footprint.ts")).runFootprint(words)) ? 0 : 1;
else if (command === "idle") process.exitCode = (await (await import("./load/idle-connections.ts")).runIdle(words)) ? 0 : 1;
else if (command === "handshakes") process.exitCode = (await (await import("./load/handshakes.ts")).runHandshakes(words)) ? 0 : 1;
else if (command === "admission") process.exitCode = (await (await import("./admission/main.ts")).runAdmission(words)) ? 0 : 1;
else if (command === "control") process.exitCode = (await (await import("./control/main.ts")).runControl(words)) ? 0 : 1;
else if (command === "kubernetes-source") await (await import("./kubernetes-source/main.ts")).runKubernetesSourceBench(words);
else if (command === "--help" || command === "-h") process.stdout.write(USAGE);
else if (command === "" || command.startsWith("-"))
  process.exitCode = (await (await import("./load/main.ts")).runLoad(process.argv.slice(2))) ? 0 : 1;
else {
  process.stderr.write(USAGE);
  process.exitCode = EXIT_USAGE;
}

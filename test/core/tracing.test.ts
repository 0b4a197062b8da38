import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import t from "tap";
import { startProcess } from "../support/processes.ts";

const TRACING = new URL("../../core/tracing.ts", import.meta.url).href;
const LOG = new URL("../../core/log.ts", import.meta.url).href;
const PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/** A collector that takes OTLP over HTTP and keeps the bodies. */
async function startCollector(t: { teardown(run: () => unknown): void }) {
  const bodies: Buffer[] = [];
  const paths = new Set<string>();
  const server = createServer(async (request, response) => {
    paths.add(request.url ?? "");
    for await (const chunk of request) bodies.push(chunk as Buffer);
    response.writeHead(200, { "content-type": "application/json" }).end("{}");
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => server.close());
  return { port: (server.address() as AddressInfo).port, received: () => Buffer.concat(bodies), paths };
}

/** Runs a program that makes two spans; OpenTelemetry keeps global state, so each try has a process of its own. */
function traced(t: { teardown(run: () => unknown): void }, env: Record<string, string>) {
  const script = `
    import Module from "node:module";
    import { startTracing } from ${JSON.stringify(TRACING)};
    import { createLogger } from ${JSON.stringify(LOG)};
    const tracing = await startTracing({ component: "sidecar", env: process.env, log: createLogger({ component: "x", level: "info" }) });
    const span = tracing.tracer.startSpan("inbound request", ${JSON.stringify(PARENT)}, { "http.request.method": "GET" });
    span.end({ ok: false, attributes: { "http.response.status_code": 503 } });
    tracing.tracer.startSpan("root span", "garbage", {}).end({ ok: true });
    await tracing.close();
    console.log("on=" + tracing.tracer.isOn + " traceparent=" + span.traceparent);
    console.log("loaded=" + Object.keys(Module._cache).some((path) => path.includes("@opentelemetry")));
    process.exit(0);`;
  return startProcess(t, process.execPath, { args: ["--input-type=module-typescript", "-e", script], env });
}

t.test("without an endpoint nothing is loaded and spans do nothing", async (t) => {
  const program = traced(t, {});
  await program.line(/^on=false traceparent=null/);
  await program.line(/^loaded=false/);
  t.equal(await program.exit(), 0);
});

t.test("with an endpoint spans arrive at the collector, under the caller's trace", async (t) => {
  const collector = await startCollector(t);
  const program = traced(t, {
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${collector.port}`,
    OTEL_RESOURCE_ATTRIBUTES: "k8s.pod.name=web-1",
    OTEL_SERVICE_NAME: "",
  });
  await program.line(/^on=true traceparent=00-0af7651916cd43dd8448eb211c80319c-[0-9a-f]{16}-01/, 15_000);
  await program.line(/^loaded=true/);
  t.equal(await program.exit(), 0);
  const text = collector.received().toString("latin1");
  t.match(text, /inbound request/);
  t.match(text, /root span/);
  t.match(text, /remora-sidecar/);
  t.match(text, /web-1/);
  t.notMatch(text, /process\.command/, "command lines are nobody's business");
  t.same([...collector.paths], ["/v1/traces"], "spans and nothing else");
  t.match(text, /http\.response\.status_code/);
});

t.test("a collector that is away delays the exit by no more than the bound", async (t) => {
  const program = traced(t, { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:9" });
  await program.line(/^on=true/, 15_000);
  t.equal(await program.exit(), 0);
});

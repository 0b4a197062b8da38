// Spans for those who collect them. OpenTelemetry is loaded only when OTEL_EXPORTER_OTLP_ENDPOINT is set (design 13.4): without it a span costs one
// call that does nothing, and `traceparent` travels as it came.
import type { Attributes, Tracer as OtelTracer } from "@opentelemetry/api";
import type { Logger } from "./log.ts";
import { parseTraceparent } from "./trace-context.ts";

/** Values that describe a span; names as in the OpenTelemetry semantic conventions. */
export type SpanAttributes = Readonly<Record<string, string | number | boolean>>;

/** How the work of a span ended. */
export interface SpanOutcome {
  readonly ok: boolean;
  /** Added to the span, for example `http.response.status_code`. */
  readonly attributes?: SpanAttributes;
}

/** A span in progress. */
export interface Span {
  /** The context to send on instead of what came; null to leave that as it is. */
  readonly traceparent: string | null;
  /** Call it once. */
  end(outcome: SpanOutcome): void;
}

/** Which side of a call the span is. */
export type SpanKind = "server" | "client" | "internal";

/** Starts spans; the no-op one allocates nothing. */
export interface Tracer {
  /** True when spans are exported: callers may skip gathering attributes otherwise. */
  readonly isOn: boolean;
  /** `traceparent` is the field value that came with the request; null or invalid: the span is a root. `kind` is "server" by default. */
  startSpan(name: string, traceparent: string | null, attributes: SpanAttributes, kind?: SpanKind): Span;
}

/** A running exporter, or nothing. */
export interface Tracing {
  readonly tracer: Tracer;
  /** Exports what is waiting, at most 2 s. */
  close(): Promise<void>;
}

/** What {@link startTracing} needs. */
export interface TracingOptions {
  /** Becomes `service.name` unless OTEL_SERVICE_NAME is set. */
  readonly component: string;
  /** Says whether to start and under which name. All other OTEL_* variables are read by the SDK from the process's own environment. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
}

const CLOSE_TIMEOUT_MS = 2000;

const noSpan: Span = { traceparent: null, end: () => undefined };

/** The tracer of a process that exports nothing. */
export const noTracer: Tracer = { isOn: false, startSpan: () => noSpan };

/** Starts exporting when `env` has OTEL_EXPORTER_OTLP_ENDPOINT; otherwise loads nothing. Failing to start is logged and not fatal. */
export async function startTracing({ component, env, log }: TracingOptions): Promise<Tracing> {
  const endpoint = env["OTEL_EXPORTER_OTLP_ENDPOINT"];
  if (endpoint === undefined || endpoint === "") return { tracer: noTracer, close: async () => undefined };
  try {
    return await startExporting(component, env, log);
  } catch (err) {
    log.error({ err, endpoint }, "tracing could not start, spans are not exported");
    return { tracer: noTracer, close: async () => undefined };
  }
}

async function startExporting(component: string, env: TracingOptions["env"], log: Logger): Promise<Tracing> {
  const [{ NodeSDK, resources }, api] = await Promise.all([import("@opentelemetry/sdk-node"), import("@opentelemetry/api")]);
  const serviceName = env["OTEL_SERVICE_NAME"];
  const sdk = new NodeSDK({
    serviceName: serviceName === undefined || serviceName === "" ? `remora-${component}` : serviceName,
    // Spans only: metrics are scraped and logs are on stdout. The SDK would export both by default.
    metricReaders: [],
    logRecordProcessors: [],
    // OTEL_RESOURCE_ATTRIBUTES; the process detector would tell command lines to the collector.
    resourceDetectors: [resources.envDetector],
  });
  sdk.start();
  log.info({ endpoint: env["OTEL_EXPORTER_OTLP_ENDPOINT"] }, "exporting spans");
  const tracer = api.trace.getTracer("remora");
  return {
    tracer: { isOn: true, startSpan: (...span) => startSpan(api, tracer, ...span) },
    close: () => within(CLOSE_TIMEOUT_MS, sdk.shutdown()).catch((err: unknown) => log.warn({ err }, "spans were lost at exit")),
  };
}

function startSpan(
  api: typeof import("@opentelemetry/api"),
  tracer: OtelTracer,
  name: string,
  traceparent: string | null,
  attributes: Attributes,
  kind: SpanKind = "server",
): Span {
  const kinds = { server: api.SpanKind.SERVER, client: api.SpanKind.CLIENT, internal: api.SpanKind.INTERNAL } as const;
  const parent = parseTraceparent(traceparent);
  const context =
    parent === null
      ? api.ROOT_CONTEXT
      : api.trace.setSpanContext(api.ROOT_CONTEXT, {
          traceId: parent.traceId,
          spanId: parent.spanId,
          traceFlags: parent.sampled ? api.TraceFlags.SAMPLED : api.TraceFlags.NONE,
          isRemote: true,
        });
  const span = tracer.startSpan(name, { kind: kinds[kind], attributes }, context);
  const { traceId, spanId, traceFlags } = span.spanContext();
  return {
    traceparent: `00-${traceId}-${spanId}-${(traceFlags & 1) === 1 ? "01" : "00"}`,
    end({ ok, attributes: last }) {
      if (last !== undefined) span.setAttributes(last);
      if (!ok) span.setStatus({ code: api.SpanStatusCode.ERROR });
      span.end();
    },
  };
}

async function within(ms: number, work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done within ${ms} ms`)), ms);
  });
  await Promise.race([work, late]).finally(() => clearTimeout(timer));
}

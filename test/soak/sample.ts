// One look at the process under soak: what it says of itself and what the kernel says of it, as one line of the report.
import type { MeshLook, MeshReady } from "./messages.ts";
import type { ProcessView } from "./process-view.ts";

/** All figures of one instant. */
export interface Sample {
  /** Since the start of the traffic, s. */
  readonly atSeconds: number;
  readonly look: MeshLook;
  readonly view: ProcessView;
  /** Open connections: from clients (and from the outbound to the inbound side), to the inbound side, and to the app. */
  readonly fromClients: number;
  readonly toMesh: number;
  readonly toApp: number;
}

const MIB = 1024 * 1024;

/** Puts a sample together. */
export function sampleOf(atSeconds: number, look: MeshLook, view: ProcessView, mesh: MeshReady, appPort: number): Sample {
  const count = (holds: (connection: ProcessView["connections"][number]) => boolean) => view.connections.filter(holds).length;
  const listening = new Set([mesh.outboundPort, mesh.inboundPort]);
  return {
    atSeconds,
    look,
    view,
    fromClients: count(({ localPort }) => listening.has(localPort)),
    toMesh: count(({ remotePort }) => remotePort === mesh.inboundPort),
    toApp: count(({ remotePort }) => remotePort === appPort),
  };
}

/** A line of the report. */
export function lineOf({ atSeconds, look, view, fromClients, toMesh, toApp }: Sample): string {
  const of = (kind: string) => look.resources[kind] ?? 0;
  return [
    `${atSeconds.toFixed(0).padStart(4)} s`,
    `exchanges ${look.begun}, in flight ${look.begun - look.finished}`,
    `connections accepted ${fromClients}, to mesh ${toMesh}, to app ${toApp}`,
    `private ${mib(view.privateBytes)}, heap ${mib(look.heapUsedBytes)} of ${mib(look.heapTotalBytes)}, external ${mib(look.externalBytes)}`,
    `TCPSocketWrap ${of("TCPSocketWrap")}, TLSWrap ${of("TLSWrap")}, Timeout ${of("Timeout")}, timers ${look.timers}, files ${view.openFiles}`,
  ].join("; ");
}

/** Bytes as MiB. */
export function mib(bytes: number): string {
  return `${(bytes / MIB).toFixed(1)} MiB`;
}

/** Change per minute of what `of` gives, bytes: the slope of a line through all samples (least squares). 0 for fewer than two. */
export function slopePerMinute(samples: readonly Sample[], of: (sample: Sample) => number): number {
  const minutes = samples.map(({ atSeconds }) => atSeconds / 60);
  const values = samples.map(of);
  const [meanMinute, meanValue] = [mean(minutes), mean(values)];
  let above = 0;
  let below = 0;
  for (const [index, minute] of minutes.entries()) {
    above += (minute - meanMinute) * ((values[index] ?? 0) - meanValue);
    below += (minute - meanMinute) ** 2;
  }
  return below === 0 ? 0 : above / below;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}

// What the first process and its workers say to each other over the IPC channel (serialization "advanced": Buffers stay Buffers). Both ends are this
// very program, so that messages are taken as they are.
import type { ChildProcess } from "node:child_process";
import type { Destination, DestinationView, Endpoint } from "../discovery/discovery.ts";
import type { PackedCredentials } from "./packed-credentials.ts";

/** Descriptor on which a worker finds the shared memory: the first after stdin, stdout, stderr and the IPC channel. */
export const MEMORY_FD = 4;

/** One destination as the first process knows it; null: it is in no snapshot. */
export interface PushedView {
  readonly key: string;
  readonly view: DestinationView | null;
}

/** Told to a worker. */
export type ToWorker =
  | {
      readonly kind: "start";
      readonly inboundPort: number;
      readonly outboundPort: number;
      readonly credentials: PackedCredentials;
    }
  | { readonly kind: "credentials"; readonly credentials: PackedCredentials }
  /** The answer to each `lookup`, and afterwards each change. */
  | { readonly kind: "views"; readonly views: readonly PushedView[] }
  /** No longer known here; further changes will not be told. */
  | { readonly kind: "forget"; readonly key: string }
  /** Bring read-only-when-asked metrics up to date; answered with `refreshed`. */
  | { readonly kind: "refresh"; readonly id: number }
  /** Stop serving one direction without failing a request; answered with `drained`. */
  | { readonly kind: "drain"; readonly direction: "inbound" | "outbound" }
  /** Cut off what is left and exit. */
  | { readonly kind: "close" };

/** Told by a worker. */
export type FromWorker =
  | { readonly kind: "listening" }
  /** It cannot start, and why; it exits. */
  | { readonly kind: "failed"; readonly message: string }
  | { readonly kind: "lookup"; readonly destination: Destination }
  /** Destinations that traffic went to since this was said last. */
  | { readonly kind: "used"; readonly keys: readonly string[] }
  /** Destinations that are not wanted any more. */
  | { readonly kind: "unwatch"; readonly key: string }
  /** An endpoint refused a connection; answered with the views of `keys`. */
  | { readonly kind: "refused"; readonly endpoint: Endpoint; readonly keys: readonly string[] }
  | { readonly kind: "refreshed"; readonly id: number }
  | { readonly kind: "drained"; readonly direction: "inbound" | "outbound" };

/** Tells a worker. One that is gone hears nothing. */
export function tell(worker: ChildProcess, message: ToWorker): void {
  if (worker.connected) worker.send(message, () => undefined);
}

/** Tells the first process. When it is gone, so are we soon. */
export function report(message: FromWorker): void {
  if (process.connected) process.send?.(message, undefined, {}, () => undefined);
}

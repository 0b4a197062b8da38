// What a probe or a hook asks of the app over the network, read from the pod and ready for the sidecar to ask in the kubelet's place: the port is a number,
// the scheme is there. Handlers that need no network, or that do not ask this pod, are nothing to the sidecar.
import { itemsOf, textsOf } from "../pod/loose-fields.ts";
import { type Container, type ProbeHandler, resolvePort } from "../pod/pod.ts";

/** A header of an http handler. */
export interface AskHeader {
  readonly name: string;
  readonly value: string;
}

/** A handler with its port resolved. Exactly one field is set. */
export type AppAsk =
  | {
      readonly httpGet: {
        readonly path: string;
        readonly port: number;
        readonly scheme: string;
        readonly httpHeaders?: readonly AskHeader[];
      };
    }
  | { readonly tcpSocket: { readonly port: number } }
  | { readonly grpc: { readonly port: number; readonly service: string } };

/** What to do about a handler: let the sidecar ask, or leave it, in the second case because its port has no number. */
export type AskReading =
  | { readonly kind: "ask"; readonly ask: AppAsk; readonly port: number }
  | { readonly kind: "untouched" }
  | { readonly kind: "unresolved"; readonly port: string };

const SHOWN_LENGTH = 50;

/** Reads a handler of `container`. */
export function readAsk(container: Container, handler: ProbeHandler): AskReading {
  const { httpGet, tcpSocket, grpc } = handler;
  const target = httpGet ?? tcpSocket ?? grpc;
  // With a host the kubelet asks that host, not this pod.
  if (target == null || ("host" in target && (target.host ?? "") !== "")) return { kind: "untouched" };
  const port = resolvePort(container, target.port);
  if (port === null) return { kind: "unresolved", port: JSON.stringify(String(target.port).slice(0, SHOWN_LENGTH)) };
  return { kind: "ask", port, ask: askAt(handler, port) };
}

function askAt({ httpGet, grpc }: ProbeHandler, port: number): AppAsk {
  if (httpGet != null) {
    const { path, scheme, httpHeaders } = httpGet;
    return {
      httpGet: {
        path: path ?? "/",
        port,
        scheme: scheme ?? "HTTP",
        ...(httpHeaders == null ? {} : { httpHeaders: headersOf(httpHeaders) }),
      },
    };
  }
  return grpc == null ? { tcpSocket: { port } } : { grpc: { port, service: grpc.service ?? "" } };
}

/** A header without a value is one with an empty value, as the API server completes it; a manifest that was never there may still lack it. */
function headersOf(headers: unknown): readonly AskHeader[] {
  return itemsOf(headers).flatMap((header) => {
    const { name, value } = textsOf(header);
    return name === undefined || name === "" ? [] : [{ name, value: value ?? "" }];
  });
}

// Answers that the sidecar gives by itself on a stream (RFC 9113 section 8.1): a head, and a short text or, for gRPC, nothing but the head.
import type { Refusal } from "../exchange.ts";
import { FlatFields, NO_EDIT } from "../fields.ts";
import { answerFor, RESCUE } from "../rescue.ts";
import type { Stream } from "./stream.ts";

/** Answers a refused request whose head was not answered yet; returns status and fields. The request's rest is not read any more: the sweep resets the stream. */
export function answerRefusal(
  stream: Stream,
  refusal: Refusal,
  request: { readonly grpc: boolean; readonly told: boolean; readonly isHead: boolean },
): { readonly status: number; readonly headers: readonly string[] } {
  const { status, headers, body } = answerFor(refusal, request);
  const isBodiless = body === "" || request.isHead;
  stream.taker = null;
  stream.source = null;
  stream.sendAnswer(String(status), new FlatFields(headers), NO_EDIT, isBodiless);
  if (!isBodiless) stream.sendData(Buffer.from(body), 0, Buffer.byteLength(body), true);
  return { status, headers };
}

/** Ends a call of gRPC whose answer has begun, behind what of it still waits; returns the trailers. */
export function endWithStatus(stream: Stream, { reason }: Refusal): readonly string[] {
  const { grpcStatus, text } = RESCUE[reason];
  const trailers = ["grpc-status", String(grpcStatus), "grpc-message", text];
  stream.sendTrailers(new FlatFields(trailers), NO_EDIT);
  return trailers;
}

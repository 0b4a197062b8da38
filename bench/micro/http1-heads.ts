// Twin of sidecar/http1/request-reader.ts, answer-reader.ts, head-fields.ts, framing.ts and head-store.ts: heads in, and out again.
import { FIELD } from "../../core/field-kind.ts";
import type { HeadEdit } from "../../sidecar/fields.ts";
import { AnswerReader } from "../../sidecar/http1/answer-reader.ts";
import { type RequestHop, RequestReader } from "../../sidecar/http1/request-reader.ts";
import { flush } from "../../sidecar/transport/outgoing.ts";
import { BROWSER, bytesOf, CURL, HUNDRED, MESH, swallowingWire } from "./heads.ts";
import type { Cases } from "./measure.ts";

const ANSWER = bytesOf(
  "HTTP/1.1 200 OK",
  "Server: nginx",
  "Content-Type: application/json",
  "Content-Length: 1024",
  "Connection: keep-alive",
);
const HTTP10 = bytesOf("HTTP/1.0 200 OK", "Server: old", "Content-Type: text/html");
const SMUGGLED = bytesOf("POST / HTTP/1.1", "Host: orders", "Content-Length: 4", "Transfer-Encoding: chunked");
const AS_IT_CAME: RequestHop = { target: null, host: null, upgradeTo: "", expects: true };
const NO_LINES = { strip: 0, lines: "" };

/** As a sidecar edits a request: what only the mesh may say goes, a request id and the caller come. */
const USUAL_EDIT: HeadEdit = {
  strip: FIELD.mesh | FIELD.identity | FIELD.hopByHop | FIELD.connection | FIELD.te,
  nominated: null,
  added: ["x-request-id", "0f4c8b52-1d0a-4f8b-8e0e-1b6d1f7f2f11", "x-remora-client-id", "spiffe://cluster.local/ns/shop/sa/web"],
  standing: null,
};

/** Reads one head, as it comes or in pieces. */
function reading(head: Buffer, pieceBytes = head.length): () => number {
  const reader = new RequestReader();
  return () => {
    reader.clear();
    let next = 0;
    for (let at = 0; at < head.length && next !== -1; at += pieceBytes)
      next = reader.read(head, at, Math.min(head.length, at + pieceBytes));
    return next;
  };
}

function putting(head: Buffer): () => void {
  const reader = new RequestReader();
  reader.read(head, 0, head.length);
  const wire = swallowingWire();
  return () => {
    reader.put(wire, USUAL_EDIT, AS_IT_CAME);
    flush();
  };
}

function answering(head: Buffer): () => number {
  const reader = new AnswerReader();
  return () => reader.read(head, 0, head.length);
}

function puttingAnswer(head: Buffer): () => void {
  const reader = new AnswerReader();
  reader.read(head, 0, head.length);
  const wire = swallowingWire();
  return () => {
    reader.put(wire, { strip: FIELD.connection, nominated: null, added: [], standing: null }, NO_LINES);
    flush();
  };
}

/** Heads of usual and odd sizes, whole and in parts, taken and refused; and the same written with the usual edit. */
export function cases(): Cases {
  return {
    "read curl's, 3 fields": reading(CURL),
    "read a browser's, 15 fields": reading(BROWSER),
    "read a sidecar's, 7 fields": reading(MESH),
    "read 100 fields": reading(HUNDRED),
    "read a browser's in 3 parts": reading(BROWSER, Math.ceil(BROWSER.length / 3)),
    "read curl's byte by byte": reading(CURL, 1),
    "refuse CL and TE": reading(SMUGGLED),
    "put curl's": putting(CURL),
    "put a browser's": putting(BROWSER),
    "put 100 fields": putting(HUNDRED),
    "read an answer, 4 fields": answering(ANSWER),
    "read an HTTP/1.0 answer": answering(HTTP10),
    "put an answer": puttingAnswer(ANSWER),
    "put an HTTP/1.0 answer": puttingAnswer(HTTP10),
  };
}

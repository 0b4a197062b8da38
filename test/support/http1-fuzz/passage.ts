// What the stages do to a head on its way through the world: the mesh's own hygiene, and a mark by which the app knows whose request it is. Says as well what
// is left of a head that went through.
import type { HttpHandler, Upstream } from "../../../sidecar/engine.ts";
import { type ConnectionContext, Exchange, type RequestHead } from "../../../sidecar/exchange.ts";
import { editedFields, type FieldView, FlatFields, type HeadEdit, RequestEdit } from "../../../sidecar/fields.ts";
import { answerEdit, editOutbound } from "../../../sidecar/policy/header-hygiene.ts";
import type { Field } from "./reference-head.ts";

/** Names the client and the place of a request in its connection, on its way to the app. */
export const MARK = "x-fuzz-mark";

const HYGIENE = { requestId: () => "fuzz" };

/** Begins an exchange, its fields cleaned and marked. */
export function beginMarked(connection: ConnectionContext, head: RequestHead, mark: string): Exchange {
  const exchange = new Exchange(connection, head, 0);
  exchange.requestId = editOutbound(head.fields, HYGIENE, exchange.edit, null);
  exchange.edit.add(MARK, mark);
  return exchange;
}

/** A connection of the local app. */
export const APP_CONTEXT: ConnectionContext = {
  connectionId: 1,
  direction: "outbound",
  protocol: "http1",
  peer: { identity: null, address: "127.0.0.1", channelBinding: null, told: true },
  port: 80,
};

/** Stages that let everything through to one app: heads are cleaned, requests marked. `finished` hears of each exchange at its end. */
export function passAll(dial: Upstream["dial"], finished: (exchange: Exchange) => void = () => {}): HttpHandler {
  return {
    request(connection, head, decide) {
      decide(beginMarked(connection, head, "1.0"), { kind: "forward", body: "stream", upstream: { key: "app", address: "app:80", dial } });
    },
    checkBody: () => null,
    seal: () => null,
    another: () => null,
    retryAnswer: () => null,
    response(exchange, status, fields) {
      exchange.status = status;
      return passAnswer(fields);
    },
    trailers: (fields) => [...fields],
    malformed: () => {},
    flooded: () => {},
    finish: finished,
  };
}

/** Cleans the head of an answer. */
export function passAnswer(fields: FieldView): HeadEdit {
  return answerEdit(fields, true);
}

/** The fields of a request behind the stages. */
export function passedRequestFields(fields: readonly Field[]): Field[] {
  const view = new FlatFields(fields.flat());
  const edit = new RequestEdit();
  editOutbound(view, HYGIENE, edit, null);
  return pairs(editedFields(view, edit));
}

/** The fields of an answer behind the stages. */
export function passedAnswerFields(fields: readonly Field[]): Field[] {
  const view = new FlatFields(fields.flat());
  return pairs(editedFields(view, passAnswer(view)));
}

function pairs(list: readonly string[]): Field[] {
  const fields: Field[] = [];
  for (let index = 0; index + 1 < list.length; index += 2) fields.push([list[index] as string, list[index + 1] as string]);
  return fields;
}

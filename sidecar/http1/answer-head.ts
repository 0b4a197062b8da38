// What the writer of answers needs to know of one, whichever protocol it came in.
import type { FieldView, HeadEdit } from "../fields.ts";
import type { Wire } from "../transport/wire.ts";
import type { AnswerHop } from "./answer-reader.ts";
import type { BodyKind } from "./framing.ts";

/** The head of an answer. Valid during the event in which it came. */
export interface AnswerHead {
  readonly status: number;
  readonly fields: FieldView;
  /** As {@link FramingFields} has it. */
  readonly framing: { readonly length: number; readonly isChunked: boolean; readonly isPlain: boolean };
  /** Writes it as HTTP/1.1. The empty line is part of it. */
  put(wire: Wire, edit: HeadEdit, hop: AnswerHop): void;
}

/** The body behind it. */
export interface AnswerBody {
  /** `untilClose` for one whose end is told by what carries it alone. */
  readonly kind: BodyKind;
  /** The trailer fields, flat; complete at its end. */
  readonly trailers: readonly string[];
}

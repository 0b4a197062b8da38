// One case of the HTTP/2 fuzz: what a client sends on one connection, frame by frame and cut where the network cuts it, and what the app answers on each stream.
import type { Field } from "./frame-text.ts";

/** A header section, a body or both ways of ending: one direction of an exchange. */
export interface Message {
  readonly fields: readonly Field[];
  readonly body: readonly string[];
  readonly trailers: readonly Field[] | null;
  /** Frames of it after which it is broken off by RST_STREAM; -1 for never. */
  readonly resetAfter: number;
}

/** How the app answers. */
export interface Answer extends Message {
  readonly status: string;
  /** Interim answers in front. */
  readonly interims: number;
  /** When it begins: with the request's head, or when the request is whole. */
  readonly at: "head" | "end";
}

/** One request, and its answer. */
export interface FuzzExchange extends Message {
  /** Marks everything that belongs to it; see `tokenOf` of the HTTP/1 fuzz. */
  readonly token: string;
  readonly id: number;
  readonly method: string;
  readonly path: string;
  readonly answer: Answer;
}

/** A change that makes a case wrong somewhere, or not: which one, on which side. */
export interface Mutation {
  readonly side: "client" | "app";
  readonly name: string;
}

/** A case. The same seed and number give the same one. */
export interface FuzzCase {
  readonly seed: number;
  readonly number: number;
  readonly exchanges: readonly FuzzExchange[];
  /** What the client writes, preface and all, one piece after the other. */
  readonly pieces: readonly Buffer[];
  /** SETTINGS_INITIAL_WINDOW_SIZE of the client and of the app. */
  readonly clientWindow: number;
  readonly appWindow: number;
  readonly mutation: Mutation | null;
  /** Seeds what is random while the case runs: padding and cuts of answers. */
  readonly answerSeed: number;
  readonly leave: "end" | "reset";
}

/** True for a case whose requests go over connections that others use too: one whose app does as it should. */
export function sharesPool({ mutation }: FuzzCase): boolean {
  return mutation === null;
}

/** What the stages do with the bodies of a case. */
export function bodyModeOf({ number }: FuzzCase): "stream" | "verify" | "sign" {
  return number % 7 === 3 ? "verify" : number % 7 === 4 ? "sign" : "stream";
}

// When what was put together is written. A connection that shares its writes among many requests is written at the end of the turn of the event loop: that is one TLS
// record and one system call for all of them. One that has little to do is written at the end of the event, as nothing is likely to join it, and the end of a turn
// costs Node two more looks for events.
//
// HOT PATH: per event two flags and a look at what waits, mostly nothing or one connection.
import { flush } from "./outgoing.ts";

/** Something that is put together to be written in one piece. */
export interface Gathering {
  /** True when more is likely to come before the turn is over. */
  readonly isBusy: boolean;
  /** Writes what is there. */
  flush(): void;
}

/** Those with something in them. */
let filled: Gathering[] = [];
let isScheduled = false;
/** True while an event is being looked at whose end is told. */
let isInEvent = false;

/** `gathering`, which was empty, has something in it. */
export function writeLater(gathering: Gathering): void {
  filled.push(gathering);
  flushAtEndOfTurn();
}

/** An event begins which {@link endEvent} ends. */
export function beginEvent(): void {
  isInEvent = true;
}

/** The end of an event: writes what waits for nothing. */
export function endEvent(): void {
  flush();
  isInEvent = false;
  for (let index = filled.length - 1; index >= 0; index -= 1) {
    const gathering = filled[index] as Gathering;
    if (gathering.isBusy) continue;
    // The last one takes its place; cutting the array by its length would be a call into V8's runtime each time.
    const last = filled.pop() as Gathering;
    if (last !== gathering) filled[index] = last;
    gathering.flush();
  }
  if (filled.length > 0) flushAtEndOfTurn();
}

/** Writes all that was put together, here and in `outgoing.ts`, once all events of this turn were looked at. */
export function flushAtEndOfTurn(): void {
  if (isScheduled || isInEvent) return;
  isScheduled = true;
  setImmediate(writeAll);
}

function writeAll(): void {
  isScheduled = false;
  flush();
  const now = filled;
  filled = [];
  for (const gathering of now) gathering.flush();
}

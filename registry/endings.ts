// What ends at an instant of the wall clock, as a stream does with its client's certificate: one timer for all of them, as there are tens of thousands. Within a second.
import type { Clock } from "../core/clock.ts";

const LOOK_MS = 1_000;
/** Those of one minute are looked at together. */
const SLOT_MS = 60_000;

/** Something that ends. */
export interface Ending {
  /** Epoch ms. The same as long as it is among {@link Endings}. */
  readonly endsAtMs: number;
  /** Called once; it is not among them any more. */
  onEnding(): void;
}

/** Those that have not ended. */
export interface Endings {
  add(ending: Ending): void;
  remove(ending: Ending): void;
  close(): void;
}

/** Starts looking. */
export function createEndings(clock: Clock): Endings {
  const slots = new Map<number, Set<Ending>>();
  const slotOf = ({ endsAtMs }: Ending) => Math.floor(endsAtMs / SLOT_MS);

  function remove(ending: Ending): void {
    const slot = slots.get(slotOf(ending));
    if (slot?.delete(ending) === true && slot.size === 0) slots.delete(slotOf(ending));
  }

  function endDue(): void {
    const now = clock.nowMs();
    for (const [number, slot] of [...slots]) {
      if (number * SLOT_MS > now) continue;
      for (const ending of [...slot]) {
        if (ending.endsAtMs > now || !slot.has(ending)) continue;
        remove(ending);
        ending.onEnding();
      }
    }
  }

  const looking = clock.every(LOOK_MS, endDue);
  return {
    add(ending) {
      const number = slotOf(ending);
      const slot = slots.get(number);
      if (slot === undefined) slots.set(number, new Set([ending]));
      else slot.add(ending);
    },
    remove,
    close: () => looking.cancel(),
  };
}

// Changes to frames that a hostile or broken peer could make: flipped bits, wrong lengths and ids, frames that are lost, doubled, swapped or made up.
import type { SeededRandom } from "../seeded-random.ts";
import { frame } from "./frame-text.ts";

const MUTATIONS = {
  flip_bit(random: SeededRandom, frames: Buffer[]) {
    const found = change(random, frames);
    const at = random.below(found.length);
    found[at] = (found[at] as number) ^ (1 << random.below(8));
  },
  flip_header_bit(random: SeededRandom, frames: Buffer[]) {
    const found = change(random, frames);
    const at = random.below(9);
    found[at] = (found[at] as number) ^ (1 << random.below(8));
  },
  wrong_length(random: SeededRandom, frames: Buffer[]) {
    const found = change(random, frames);
    found.writeUIntBE(Math.max(0, found.length - 9 + random.below(9) - 4), 0, 3);
  },
  wrong_id(random: SeededRandom, frames: Buffer[]) {
    change(random, frames).writeUInt32BE(random.below(14), 5);
  },
  wrong_type: (random: SeededRandom, frames: Buffer[]) => void change(random, frames).writeUInt8(random.below(11), 3),
  wrong_flags: (random: SeededRandom, frames: Buffer[]) => void change(random, frames).writeUInt8(random.below(256), 4),
  drop: (random: SeededRandom, frames: Buffer[]) => void frames.splice(random.below(frames.length), 1),
  double(random: SeededRandom, frames: Buffer[]) {
    const at = random.below(frames.length);
    frames.splice(at, 0, frames[at] as Buffer);
  },
  swap(random: SeededRandom, frames: Buffer[]) {
    const at = random.below(frames.length);
    const [found] = frames.splice(at, 1);
    frames.splice(random.below(frames.length + 1), 0, found as Buffer);
  },
  cut_off(random: SeededRandom, frames: Buffer[]) {
    const at = random.below(frames.length);
    const last = frames[at] as Buffer;
    frames.splice(at, frames.length, last.subarray(0, random.below(last.length)));
  },
  make_up(random: SeededRandom, frames: Buffer[]) {
    const payload = Buffer.from(Array.from({ length: random.pick([0, 1, 4, 5, 6, 8, 20]) }, () => random.below(256)));
    frames.splice(
      random.below(frames.length + 1),
      0,
      frame(random.below(11), random.pick([0, 1, 4, 5, 8, 0x20, 0x2d]), random.below(12), payload),
    );
  },
} as const;

/** Their names. */
export const MUTATION_NAMES = Object.keys(MUTATIONS) as (keyof typeof MUTATIONS)[];

/** The frames with one change. */
export function mutate(random: SeededRandom, name: string, frames: readonly Buffer[]): Buffer[] {
  if (frames.length === 0) return [];
  const changed = [...frames];
  MUTATIONS[name as keyof typeof MUTATIONS](random, changed);
  return changed;
}

/** Puts a copy of one frame in its place, and gives it. */
function change(random: SeededRandom, frames: Buffer[]): Buffer {
  const at = random.below(frames.length);
  const copy = Buffer.from(frames[at] as Buffer);
  frames[at] = copy;
  return copy;
}

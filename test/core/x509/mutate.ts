// Seeded damage for fuzz tests: the same seed gives the same bytes, so that a failure can be run again.
import type { SeededRandom } from "../../support/seeded-random.ts";

/** `bytes` with one to four changes: flips, cuts, repeats, insertions, or interesting length bytes. */
export function mutate(bytes: Buffer, random: SeededRandom): Buffer {
  let out = Buffer.from(bytes);
  const changes = 1 + random.below(4);
  for (let change = 0; change < changes; change += 1) {
    const at = random.below(Math.max(out.length, 1));
    const length = random.below(8) + 1;
    switch (random.below(6)) {
      case 0:
        out[at] = (out[at] ?? 0) ^ (1 << random.below(8));
        break;
      case 1:
        out[at] = random.below(256);
        break;
      case 2:
        out = Buffer.concat([out.subarray(0, at), out.subarray(at + length)]);
        break;
      case 3:
        out = Buffer.concat([out.subarray(0, at + length), out.subarray(at)]);
        break;
      case 4:
        out = out.subarray(0, at);
        break;
      default:
        out[at] = random.pick([0x00, 0x7f, 0x80, 0x81, 0x84, 0x88, 0xff]);
    }
  }
  return out;
}

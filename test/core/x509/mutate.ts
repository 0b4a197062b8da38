// Seeded damage for fuzz tests: the same seed gives the same bytes, so that a failure can be run again.

/** mulberry32: 0..1, good enough to choose what to break. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** `bytes` with one to four changes: flips, cuts, repeats, insertions, or interesting length bytes. */
export function mutate(bytes: Buffer, random: () => number): Buffer {
  let out = Buffer.from(bytes);
  const changes = 1 + Math.floor(random() * 4);
  for (let change = 0; change < changes; change += 1) {
    const at = Math.floor(random() * Math.max(out.length, 1));
    const length = Math.floor(random() * 8) + 1;
    switch (Math.floor(random() * 6)) {
      case 0:
        out[at] = (out[at] ?? 0) ^ (1 << Math.floor(random() * 8));
        break;
      case 1:
        out[at] = Math.floor(random() * 256);
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
        out[at] = [0x00, 0x7f, 0x80, 0x81, 0x84, 0x88, 0xff][Math.floor(random() * 7)] ?? 0;
    }
  }
  return out;
}

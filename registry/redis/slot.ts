// Which of a Redis Cluster's 16384 slots a key is in: CRC16 (XMODEM) over the hash tag, as the cluster specification says.

/** Slots of every Redis Cluster. */
export const SLOTS = 16_384;

/** The slot of a key. Only the part between the first `{` and the next `}` counts, if there is something between them. */
export function slotOf(key: string): number {
  const open = key.indexOf("{");
  const close = open < 0 ? -1 : key.indexOf("}", open + 1);
  const tag = close > open + 1 ? key.slice(open + 1, close) : key;
  return crc16(Buffer.from(tag)) % SLOTS;
}

function crc16(bytes: Buffer): number {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit += 1) crc = ((crc & 0x8000) === 0 ? crc << 1 : (crc << 1) ^ 0x1021) & 0xffff;
  }
  return crc;
}

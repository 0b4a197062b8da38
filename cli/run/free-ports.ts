// Ports nobody listens on. They are only looked up, not held: whoever takes one in between makes the later listen fail, which it reports.
import { randomInt } from "node:crypto";
import { createServer } from "node:net";

/** Below those that kernels give to outgoing connections (Linux: from 32768 on), of which a busy machine would soon take one that was just free. */
const FIRST_PORT = 10_240;
const END_PORT = 32_768;
/** A machine on which so many ports in a row are taken has none to give. */
const MAX_TRIES = 100;

/** As many free TCP ports of `host` as asked for, all different. Rejects with the last error of listening when there are none. */
export async function freePorts(count: number, host = "127.0.0.1"): Promise<number[]> {
  const found = new Set<number>();
  for (let tries = 1; found.size < count; tries += 1) {
    const port = randomInt(FIRST_PORT, END_PORT);
    try {
      await tryPort(port, host);
      found.add(port);
    } catch (error) {
      if (tries >= MAX_TRIES) throw error;
    }
  }
  return [...found];
}

function tryPort(port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(port, host, () => server.close(() => resolve()));
  });
}

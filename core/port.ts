// Port numbers as text, as annotations, settings and flags give them.

/** The number, 1 to 65535; null for any other text. */
export function readPort(text: string): number | null {
  const port = /^[0-9]{1,5}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= 65535 ? port : null;
}

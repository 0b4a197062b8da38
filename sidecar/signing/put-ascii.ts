// Writes short text into bytes letter by letter: for some dozens of letters that costs a third of a call of `Buffer.write`.

/**
 * Writes the `length` letters of `text` from `from` on at `at`. False unless they are all there and ASCII: never is something else compared or signed
 * than what was said. Give the text as it was received: letters of a slice of it take five times as long.
 */
export function putAscii(bytes: Uint8Array, at: number, text: string, from: number, length: number): boolean {
  if (text.length < from + length) return false;
  let seen = 0;
  for (let index = 0; index < length; index += 1) {
    const code = text.charCodeAt(from + index);
    seen |= code;
    bytes[at + index] = code;
  }
  return seen <= 0x7f;
}

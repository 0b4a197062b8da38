// Comparing HTTP field names, which come in any case (RFC 9110 section 5.1), without making a lower-case copy of them.

/** True when `name` is `lower` but for ASCII case. `lower` must be lower case. */
export function sameName(name: string, lower: string): boolean {
  if (name.length !== lower.length) return false;
  if (name === lower) return true;
  for (let index = 0; index < lower.length; index += 1) {
    if (lowerCode(name.charCodeAt(index)) !== lower.charCodeAt(index)) return false;
  }
  return true;
}

/** The code of an ASCII letter in lower case; any other code as it is. */
function lowerCode(code: number): number {
  return code >= 0x41 && code <= 0x5a ? code + 0x20 : code;
}

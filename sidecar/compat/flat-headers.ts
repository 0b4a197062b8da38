// Flat header lists (name, value, name, value, …) are what the stages work on; node:http and http-proxy want objects. This is the bridge.

/** Groups a flat list by lower case name; a repeated field becomes an array, in order. No prototype, so that no name can be special. */
export function headerObject(flat: readonly string[]): Record<string, string | string[]> {
  const object: Record<string, string | string[]> = Object.create(null);
  for (let index = 0; index < flat.length; index += 2) {
    const name = (flat[index] as string).toLowerCase();
    const value = flat[index + 1] as string;
    const earlier = object[name];
    if (earlier === undefined) object[name] = value;
    else if (Array.isArray(earlier)) earlier.push(value);
    else object[name] = [earlier, value];
  }
  return object;
}

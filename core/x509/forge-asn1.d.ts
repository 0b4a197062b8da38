// node-forge ships no types for its parts. Only the ASN.1 part is imported: the whole library costs 4.6 MB of private memory and 45 ms
// at start, this part 1.1 MB and 6 ms (measured with Node 26).
declare module "node-forge/lib/asn1.js" {
  import type { asn1 } from "node-forge";

  /** The types of node-forge 1.3 know a single flag here; these are the options of 1.4. */
  interface DerOptions {
    readonly strict: boolean;
    readonly parseAllBytes: boolean;
    readonly decodeBitStrings: boolean;
    readonly maxDepth: number;
  }
  const part: Omit<typeof asn1, "fromDer"> & { fromDer(bytes: string, options: DerOptions): asn1.Asn1 };
  export = part;
}

// Recognises the request that our own sidecars write (csr.ts' `createCsr` with a P-256 key): octet for octet what it would be for one identity, but for the key and the
// signature. So what a CA reads thousands of times a second is compared instead of parsed. Whatever is different in one octet is `parseCsr`'s, which knows what is wrong.
import { createPublicKey, generateKeyPairSync, verify } from "node:crypto";
import type { SpiffeId } from "../spiffe.ts";
import { createCsr } from "./csr.ts";
import { decodeDer, encodeDer, readSequence } from "./der.ts";

/** Octets of the SubjectPublicKeyInfo of P-256. */
const SPKI_BYTES = 91;
/** Identities whose form is kept. The oldest goes first. */
const MAX_IDENTITIES = 4_096;

/** What is the same in all requests of one identity. */
interface Form {
  /** The signed part: what stands before the key, and behind it. */
  readonly before: Buffer;
  readonly behind: Buffer;
  readonly infoBytes: number;
  /** The AlgorithmIdentifier behind it. */
  readonly algorithm: Buffer;
}

const TAG_SEQUENCE = 0x30;
const TAG_BIT_STRING = 0x03;

/** Gives the key (SubjectPublicKeyInfo, DER) of a request that is one of ours for `identity` and signed by its own key; null for anything else. */
export type ReadOwnCsr = (der: Buffer, identity: SpiffeId) => Buffer | null;

/** Makes the reader. */
export function createOwnCsrReader(): ReadOwnCsr {
  const sample = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const sampleSpki = sample.publicKey.export({ type: "spki", format: "der" });
  /** Before the point, which is the key itself. */
  const spkiHead = sampleSpki.subarray(0, SPKI_BYTES - 64);
  const forms = new Map<SpiffeId, Form>();

  function formOf(identity: SpiffeId): Form {
    const known = forms.get(identity);
    if (known !== undefined) return known;
    const [info, algorithm] = readSequence(decodeDer(createCsr({ key: sample.privateKey, identity }), "sample"), "sample");
    if (info === undefined || algorithm === undefined) throw new Error("our own request has no parts");
    const bytes = encodeDer(info);
    const at = bytes.indexOf(sampleSpki);
    const form = {
      before: bytes.subarray(0, at),
      behind: bytes.subarray(at + SPKI_BYTES),
      infoBytes: bytes.length,
      algorithm: encodeDer(algorithm),
    };
    const [oldest] = forms.keys();
    if (forms.size >= MAX_IDENTITIES && oldest !== undefined) forms.delete(oldest);
    forms.set(identity, form);
    return form;
  }

  return (der, identity) => {
    const form = formOf(identity);
    const from = startOfContent(der);
    if (from === -1) return null;
    const end = from + form.infoBytes;
    const spkiFrom = from + form.before.length;
    const spki = der.subarray(spkiFrom, spkiFrom + SPKI_BYTES);
    const signatureFrom = end + form.algorithm.length;
    const isOurs =
      form.before.equals(der.subarray(from, spkiFrom)) &&
      spkiHead.equals(spki.subarray(0, spkiHead.length)) &&
      form.behind.equals(der.subarray(spkiFrom + SPKI_BYTES, end)) &&
      form.algorithm.equals(der.subarray(end, signatureFrom)) &&
      isWholeBitString(der, signatureFrom);
    if (!isOurs) return null;
    try {
      const publicKey = createPublicKey({ key: spki, format: "der", type: "spki" });
      return verify("sha256", der.subarray(from, end), publicKey, der.subarray(signatureFrom + 3)) ? spki : null;
    } catch {
      return null; // a point that is not on the curve
    }
  };
}

/** Of a SEQUENCE of 128 to 65 535 octets that is all there is, in its shortest encoding; -1 for anything else. */
function startOfContent(der: Buffer): number {
  if (der[0] !== TAG_SEQUENCE) return -1;
  if (der[1] === 0x81) return (der[2] ?? 0) >= 0x80 && der.length === 3 + (der[2] ?? 0) ? 3 : -1;
  if (der[1] === 0x82 && der.length >= 4) return der.readUInt16BE(2) >= 0x100 && der.length === 4 + der.readUInt16BE(2) ? 4 : -1;
  return -1;
}

/** A BIT STRING of whole octets, shorter than 128, up to the end: the signature, which `verify` reads. */
function isWholeBitString(der: Buffer, at: number): boolean {
  const length = der[at + 1] ?? 0x80;
  return der[at] === TAG_BIT_STRING && length > 1 && length < 0x80 && der[at + 2] === 0 && at + 2 + length === der.length;
}

// PKCS#10 certificate requests (RFC 2986): how a sidecar asks, how the CA reads. A request proves possession of its key by its own
// signature; of what it asks for only the one identity counts, everything else is ignored.
import type { KeyObject } from "node:crypto";
import { createPublicKey } from "node:crypto";
import { CertError } from "../errors.ts";
import type { SpiffeId } from "../spiffe.ts";
import { parseSpiffeId } from "../spiffe.ts";
import { publicKeyInfo } from "./certificate.ts";
import type { Der } from "./der.ts";
import {
  bitString,
  decodeDer,
  encodeDer,
  integer,
  malformed,
  oid,
  readBitString,
  readOid,
  readSequence,
  readSmallInteger,
  readTagged,
  sequence,
  setOf,
  tagged,
} from "./der.ts";
import { OID, readExtensions, subjectAltName } from "./extensions.ts";
import { isStrongKey, keyName, signatureAlgorithm, signDer, verifyDer } from "./signature.ts";

const WHAT = "certificate request";
const VERSION_1 = Buffer.of(0);

/** What a request says, its signature already verified. */
export interface ParsedCsr {
  readonly publicKey: KeyObject;
  readonly identity: SpiffeId;
}

/** Makes a request, DER: empty subject, one critical URI name. */
export function createCsr(options: { readonly key: KeyObject; readonly identity: SpiffeId }): Buffer {
  return encodeCsr(options.key, [options.identity]);
}

/** As {@link createCsr} with any names, so that tests can ask for what must be refused. */
export function encodeCsr(key: KeyObject, uris: readonly string[], extraExtensions: readonly Der[] = []): Buffer {
  const names = uris.length === 0 ? [] : [subjectAltName({ uris }, true)];
  const extensions = sequence(...names, ...extraExtensions);
  const info = sequence(
    integer(VERSION_1),
    sequence(),
    publicKeyInfo(key),
    tagged(0, sequence(oid(OID.extensionRequest), setOf(extensions))),
  );
  return encodeDer(sequence(info, signatureAlgorithm(key), bitString(signDer(encodeDer(info), key))));
}

/**
 * Reads a request. Throws `CertError`: `malformed` (not a request, or its own signature is wrong), `weak_key`, `not_one_uri_san`.
 * Whether the identity may be had is the caller's question.
 */
export function parseCsr(der: Buffer): ParsedCsr {
  const [info, algorithm, signature, ...rest] = readSequence(decodeDer(der, WHAT), WHAT);
  if (info === undefined || rest.length > 0) throw malformed(WHAT, "not three parts");
  const [version, , keyInfo, attributes, ...more] = readSequence(info, WHAT);
  if (readSmallInteger(version, WHAT) !== 0 || keyInfo === undefined || more.length > 0) throw malformed(WHAT, "not version 1");
  const publicKey = readPublicKey(keyInfo);
  if (!isStrongKey(publicKey)) throw new CertError("weak_key", `${WHAT}: a key of type ${keyName(publicKey)}`);
  if (!verifyDer(encodeDer(info), readBitString(signature, WHAT), algorithm, publicKey)) {
    throw malformed(WHAT, "its signature is not by its own key");
  }
  const { uris } = readExtensions(requestedExtensions(attributes), WHAT);
  const [uri, ...others] = uris;
  if (uri === undefined || others.length > 0)
    throw new CertError("not_one_uri_san", `${WHAT}: ${uris.length} URI names, exactly one is needed`);
  return { publicKey, identity: parseSpiffeId(uri) };
}

function readPublicKey(keyInfo: Der): KeyObject {
  try {
    return createPublicKey({ key: encodeDer(keyInfo), format: "der", type: "spki" });
  } catch (cause) {
    throw malformed(WHAT, "no usable public key", cause);
  }
}

/** The one extensionRequest attribute; none gives an empty list. */
function requestedExtensions(attributes: Der | undefined): Der {
  if (attributes === undefined) return sequence();
  const wanted = readTagged(attributes, 0, WHAT)
    .map((attribute) => readSequence(attribute, WHAT))
    .filter(([id]) => readOid(id, WHAT) === OID.extensionRequest);
  if (wanted.length === 0) return sequence();
  const values = wanted[0]?.[1];
  const list = Array.isArray(values?.value) ? values.value : [];
  const [extensions] = list;
  if (wanted.length > 1 || list.length !== 1 || typeof extensions !== "object" || extensions === null)
    throw malformed(WHAT, "not one extension request");
  return extensions as Der;
}
